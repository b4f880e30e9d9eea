"""benchmarks/preparation.py prepares every kind of labels from synthetic files."""

import re
import runpy
from pathlib import Path

from masqclip_d2.data.preparation import PREPARATIONS

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "preparation.py"


def test_every_row_has_its_times(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(SCRIPT), "--images", "2", "--scale", "0.05", "--workers", "1"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = re.findall(r"^(\w+)(?:, \w+)? +([\d.]+) +([\d.]+) +([\d.]+)$", capsys.readouterr().out, flags=re.MULTILINE)
    assert {name for name, *_ in rows} == set(PREPARATIONS) - {"pascal_voc"}  # as Pascal Context's 59, but smaller
    assert len(rows) == 8 and all(float(number) > 0 for _, *numbers in rows for number in numbers[:2])
