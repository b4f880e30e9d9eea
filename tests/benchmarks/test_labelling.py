"""benchmarks/labelling.py prints time and images per hour."""

import re
from pathlib import Path

from tests.forked import run_python

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "labelling.py"


def test_times_are_printed():
    done = run_python([SCRIPT, "--images", "2", "--batch-size", "2"], fork_children=True)
    assert done.returncode == 0, done.stderr
    assert "2 images, shapes, batches of 2, coco-rle; 0 failed" in done.stdout
    seconds = float(re.search(r"^CPU seconds per image: ([\d.]+) ", done.stdout, re.MULTILINE)[1])
    per_hour = int(re.search(r"^images per hour of one core: (\d+)$", done.stdout, re.MULTILINE)[1])
    assert abs(per_hour * seconds / 3600 - 1) < 0.1
