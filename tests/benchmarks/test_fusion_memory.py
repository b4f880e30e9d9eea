"""benchmarks/fusion_memory.py measures every task, each in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fusion_memory.py"


def test_every_task_is_measured():
    small = ("--height", "60", "--width", "80", "--masks", "6", "--categories", "5")
    printed = subprocess.run([sys.executable, SCRIPT, *small], check=True, capture_output=True, text=True).stdout
    rows = re.findall(r"^(\w+) +60 x 80, 6 masks, 5 categories, .*: +([\d.]+) s, +([\d.]+) GB", printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["panoptic", "semantic", "instance"]
    assert all(float(peak) < 0.1 for _, _, peak in rows)
