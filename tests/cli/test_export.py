"""The verb `export`: settings that are refused, and a vocabulary file alone. The files: tests/export."""

import json
import re

import numpy as np
import pytest

from masqclip_d2.cli.export import main
from masqclip_d2.export import onnx_files


def refusal(capsys, *words) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 1
    return capsys.readouterr().err


def test_settings_are_refused_before_a_model_is_built(tmp_path, capsys, monkeypatch):
    output = ("--output", tmp_path / "export")
    assert "There is no part 'head'" in refusal(capsys, *output, "--parts", "head")
    assert "There is no format 'tflite'; expected one of onnx, pt2." in refusal(capsys, *output, "--formats", "tflite")
    assert "expected one of fp32, bf16, fp16, int8" in refusal(capsys, *output, "--weight-dtype", "int4")
    assert "--stuff needs --vocab" in refusal(capsys, *output, "--stuff", "sky")
    assert "--vocabulary-only needs categories" in refusal(capsys, *output, "--vocabulary-only")
    monkeypatch.setattr(onnx_files, "_PACKAGES", ("onnx_that_is_missing",))
    assert "onnx_that_is_missing: pip install 'masqclip_d2[export]'." in refusal(capsys, *output)
    assert not (tmp_path / "export").exists()


def test_a_vocabulary_alone(tmp_path, capsys):
    main(["--output", str(tmp_path), "--vocabulary-only", "--vocab", "dotted cross,plain star", "--stuff", "grass"])
    assert re.search(r"vocabulary.npz: \d\.\d kB\n", capsys.readouterr().out)
    assert [path.name for path in tmp_path.iterdir()] == ["vocabulary.npz"]
    with np.load(tmp_path / "vocabulary.npz") as texts:
        assert texts["names"].tolist() == ["dotted cross", "plain star", "grass"]
        assert texts["is_thing"].tolist() == [True, True, False]
        assert texts["text_embeddings"].shape == (4, 128)
        assert json.loads(str(texts["metadata"]))["other_columns"] == ["background"]


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    words = ("--output", tmp_path / "file" / "export", "--vocabulary-only", "--vocab", "dotted cross")
    error = refusal(capsys, *words)
    last = error.splitlines()[-1]  # after log lines
    assert last.startswith("error: ") and str(tmp_path / "file") in last
