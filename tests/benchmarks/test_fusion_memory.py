"""benchmarks/fusion_memory.py measures every task with every number of categories, each in a process of its own."""

import re
from pathlib import Path

from tests.forked import run_python

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fusion_memory.py"


def test_every_row_is_measured():
    small = ("--height", "60", "--width", "80", "--masks", "6", "--categories", "5", "300")
    done = run_python([SCRIPT, *small], fork_children=True)
    assert done.returncode == 0, done.stderr
    line = r"^(\w+) +60 x 80, 6 masks, +(\d+) categories, .*: +([\d.]+) s, +([\d.]+) GB"
    rows = re.findall(line, done.stdout, re.MULTILINE)
    tasks = ("panoptic", "semantic", "instance")
    assert [row[:2] for row in rows] == [(task, number) for task in tasks for number in ("5", "300")]
    assert all(float(peak) < 0.1 for *_, peak in rows)
