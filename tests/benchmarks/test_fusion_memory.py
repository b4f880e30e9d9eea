"""benchmarks/fusion_memory.py measures every task, each in a process of its own."""

import re
from pathlib import Path

from tests.forked import run_python

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fusion_memory.py"


def test_every_task_is_measured():
    small = ("--height", "60", "--width", "80", "--masks", "6", "--categories", "5")
    done = run_python([SCRIPT, *small], fork_children=True)
    assert done.returncode == 0, done.stderr
    line = r"^(\w+) +60 x 80, 6 masks, 5 categories, .*: +([\d.]+) s, +([\d.]+) GB"
    rows = re.findall(line, done.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == ["panoptic", "semantic", "instance"]
    assert all(float(peak) < 0.1 for _, _, peak in rows)
