"""benchmarks/panoptic_evaluation.py rows agree with each other."""

import re
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "panoptic_evaluation.py"
SMALL = ("--images", "3", "--side", "48", "--segments", "8", "--repeats", "1", "--workers", "2")


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", [str(SCRIPT), *SMALL, *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_all_rows_agree_and_ratios_are_printed(run):
    printed = run()
    differences = re.findall(r"largest difference .*: (\S+)$", printed, flags=re.MULTILINE)
    assert len(differences) == 2 and all(float(value) < 1e-9 for value in differences)
    for source in ("counting", "model", "folders"):
        assert re.search(rf"^{source}: plain takes \d+\.\d times as long as ours$", printed, flags=re.MULTILINE)


def test_a_folder_without_the_published_evaluator_is_named(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run("--panopticapi", tmp_path)
    assert f"{tmp_path} has no panopticapi/evaluation.py" in capsys.readouterr().err
