"""benchmarks/pixel_decoder.py measures both samplings, and leaves the op as it was."""

import re
import runpy
from pathlib import Path

from masqclip_d2.ops.ms_deform_attn import IMPLEMENTATIONS, fast

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "pixel_decoder.py"


def test_every_row_is_measured(monkeypatch, capsys):
    small = ("--height", "64", "--width", "96", "--layers", "1", "--repeats", "1")
    monkeypatch.setattr("sys.argv", [str(SCRIPT), *small])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    row = r"^([\w ]+): grid_sample ([\d.]+) s, table rows ([\d.]+) s of CPU time; ratio"
    assert [name for name, *_ in re.findall(row, printed, flags=re.MULTILINE)] == [
        "sampling", "sampling with gradients", "pixel decoder",
    ]  # fmt: skip
    errors = re.findall(r"largest error of ([\w ]+): (\S+),", printed)
    assert len(errors) == 2 and all(float(error) < 1e-4 for _, error in errors)
    assert IMPLEMENTATIONS["torch"] is fast.ms_deform_attn_torch
