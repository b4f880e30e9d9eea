"""benchmarks/semantic_evaluation.py computes label maps in both ways, which agree."""

import re
import runpy
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "semantic_evaluation.py"


def test_both_rows_agree_and_large_maps_are_skipped(monkeypatch, capsys):
    # 30 maps of 128 x 128 pixels are 1.9 MiB, 300 of them 19 MiB.
    small = ("--categories", "30", "300", "--side", "128", "--masks", "12", "--repeats", "1", "--largest", "0.01")
    monkeypatch.setattr("sys.argv", [str(SCRIPT), *small])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.findall(r"^ +(\d+) categories, (\w+) .* s per image, .* MB above", printed, flags=re.MULTILINE) == [
        ("30", "bands"),
        ("30", "maps"),
        ("300", "bands"),
    ]
    [differing] = re.findall(r"; (\d+) of 16384 pixels differ", printed)
    assert int(differing) <= 2
