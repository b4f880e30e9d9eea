"""benchmarks/vocabulary_size.py prints a row per number of categories and draws them."""

import re
from pathlib import Path

from PIL import Image

from tests.forked import run_python

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "vocabulary_size.py"


def test_a_table_and_a_plot(tmp_path):
    plot = tmp_path / "new" / "plot.png"
    small = ("--categories", "3", "30", "--side", "64", "--repeats", "1", "--plot", str(plot))
    done = run_python([SCRIPT, *small], fork_children=True)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| ([\d,]+) \|(?: [\d.]+ s \|){5}(?: \d+ MB \|){2}$", done.stdout, re.MULTILINE)
    assert rows == ["3", "30"]
    assert Image.open(plot).width == 1200
