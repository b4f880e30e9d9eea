from pathlib import Path

import pytest

from masqclip_d2.cli.make_shapes import main
from tests.forked import run_python

ROOT = Path(__file__).resolve().parents[2]


def test_the_script_runs_from_any_folder(tmp_path):
    script = ROOT / "datasets" / "make_shapes.py"
    arguments = ["--output", "here", "--num-train", "2", "--num-val", "1", "--num-captions", "1", "--workers", "1"]
    done = run_python([script, *arguments], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 train, 1 val, 1 captioned, 0 close-up images" in done.stdout
    assert "4/4" in done.stderr  # the progress bar
    assert (tmp_path / "here" / "train" / "000000000002.png").is_file()


def test_refusal_is_one_sentence_and_exit_code_1(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SystemExit) as stop:
        main(["--output", str(tmp_path), "--num-train", "1"])
    assert stop.value.code == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert str(tmp_path) in error


def test_default_folder_follows_detectron2_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    main(["--num-train", "1", "--num-val", "0", "--num-captions", "0", "--workers", "1"])
    assert (tmp_path / "shapes" / "manifest.json").is_file()
