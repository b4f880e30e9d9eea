"""benchmarks/photograph.py runs from start to segments, on a small configuration."""

import re
from pathlib import Path

from tests.forked import run_python

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "photograph.py"


def test_every_row_is_printed():
    small = ("--config", "shapes/maskclip_worma", "--height", "60", "--width", "80")
    done = run_python([SCRIPT, *small], fork_children=True)
    assert done.returncode == 0, done.stderr
    start = re.search(r"^start: ([\d.]+) s, peak ([\d.]+) GB", done.stdout, re.MULTILINE)
    assert start is not None and float(start[2]) > 0
    image = re.search(r"^60 x 80 pixels, panoptic, 133 categories, fp32: ([\d.]+) s", done.stdout, re.MULTILINE)
    assert image is not None and float(image[1]) > 0
    parts = dict(re.findall(r"(backbone|pixel decoder|mask decoder|CLIP) ([\d.]+) s", done.stdout))
    assert len(parts) == 4
    occasions = re.findall(r"^133 other categories on the encoded image, ([\w ]+): ", done.stdout, re.MULTILINE)
    assert occasions == ["first time", "again"]
