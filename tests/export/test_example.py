"""examples/onnx_without_torch.py in a process where nothing of PyTorch or of this package is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from masqclip_d2 import Predictor
from masqclip_d2.export import export_model
from masqclip_d2.vocabulary import Vocabulary
from tests.helpers import ROOT

pytest.importorskip("onnxruntime", reason="needs the extra export")
pytest.importorskip("onnxscript", reason="needs the extra export")

SAMPLE = ROOT / "masqclip_d2/shapes/samples/shapes_1.png"
CHECKED = """
import runpy, sys
sys.argv = ["onnx_without_torch.py", *sys.argv[1:]]
runpy.run_path("examples/onnx_without_torch.py", run_name="__main__")
print(sorted({"torch", "masqclip_d2", "detectron2"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_the_example_finds_what_the_predictor_finds(tmp_path):
    vocabulary = Vocabulary.from_names("dotted cross,dotted square,zigzag circle", "water,grass")
    predictor = Predictor()
    export_model(predictor, tmp_path, ("whole",), vocabulary=vocabulary)
    words = [sys.executable, "-c", CHECKED, str(tmp_path), str(SAMPLE)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, imported = done.stdout.splitlines()
    assert imported == "[]"
    segments = sorted(predictor(SAMPLE, vocabulary).segments, key=lambda segment: -segment.score)
    assert lines == [f"{each.label}: score {each.score:.2f}, {each.area} pixels" for each in segments]
