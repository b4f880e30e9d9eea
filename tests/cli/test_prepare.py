import runpy
import sys
from pathlib import Path

import pytest

from masqclip_d2.cli.prepare import main
from masqclip_d2.data.preparation import PREPARATIONS
from tests.original_formats import write_ade20k, write_pascal_voc

SCRIPTS = Path(__file__).resolve().parents[2] / "datasets"


def test_the_command_says_what_it_made(tmp_path, capsys):
    write_ade20k(tmp_path)
    arguments = ["ade20k", "--root", str(tmp_path), "--splits", "val", "--only", "semantic", "--workers", "1"]
    main(arguments)
    made = tmp_path / "ADEChallengeData2016" / "annotations_detectron2" / "validation"
    assert capsys.readouterr().out == f"semantic val: {made}\n"
    main(arguments)
    assert capsys.readouterr().out == f"semantic val: already there, {made}\n"


def test_errors_are_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["pascal_voc", "--root", str(tmp_path), "--only", "22"])
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: pascal_voc has no kind 22; known: 20, 21.\n"


@pytest.mark.parametrize("name", PREPARATIONS)
def test_each_preparation_has_its_script(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"prepare_{name}.py", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPTS / f"prepare_{name}.py"), run_name="__main__")
    assert caught.value.code == 0
    assert "--root ROOT" in capsys.readouterr().out


def test_a_script_prepares(tmp_path, monkeypatch):
    write_pascal_voc(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prepare_pascal_voc.py", "--root", str(tmp_path), "--workers", "1"])
    runpy.run_path(str(SCRIPTS / "prepare_pascal_voc.py"), run_name="__main__")
    assert len(list((tmp_path / "pascal_voc_d2").rglob("*.png"))) == 4
