"""benchmarks/video.py prints the speed of each way."""

import re
from pathlib import Path

import pytest

from tests.forked import run_python

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "video.py"


def test_every_row_is_printed():
    pytest.importorskip("av")
    small = ("--frames", "2", "--height", "48", "--width", "64", "--rounds", "1")
    done = run_python([SCRIPT, *small], fork_children=True)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^([\w ,]+): [\d.]+ frames per second$", done.stdout, re.MULTILINE)
    assert rows == ["predictor, one by one", "predictor, batches", "demo, images", "demo, video"]
    assert re.search(r"^video against images: [\d.]+ times as fast$", done.stdout, re.MULTILINE)
