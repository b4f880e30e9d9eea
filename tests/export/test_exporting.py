"""A tiny model through the whole export: files that onnxruntime runs, with the results of the model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from masqclip_d2 import Predictor
from masqclip_d2.export import export_model
from masqclip_d2.structures import MaskProposals
from masqclip_d2.vocabulary import class_logits
from tests.helpers import ROOT, five_categories, random_image, tiny_predictor

onnx = pytest.importorskip("onnx", reason="needs the extra export")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")
pytest.importorskip("onnxscript", reason="needs the extra export")
pytestmark = pytest.mark.slow  # an export takes half a minute of a core

# Height, width, masks, categories: oblong, no multiples of the padding, one mask, one category.
SIZES = ((96, 128, 5, 7), (65, 203, 1, 1), (170, 75, 11, 40))


@pytest.fixture(scope="module")
def maskclip(tmp_path_factory):
    """A predictor and the folder of its export."""
    folder = tmp_path_factory.mktemp("maskclip")
    torch.manual_seed(2)  # several segments
    test = "MODEL.MASK_FORMER.TEST"
    every_segment = [f"{test}.OBJECT_MASK_THRESHOLD", "0.0", f"{test}.OVERLAP_THRESHOLD", "0.0"]
    predictor = tiny_predictor(folder, "MaskCLIP", "MODEL.MASQCLIP.RMA.LAYERS", "[2]", *every_segment)
    export_model(predictor, folder / "export", ("whole",), ("onnx", "pt2"), vocabulary=five_categories(), name="tiny")
    return predictor, folder / "export"


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path, **inputs):
    session = session_of(path)
    found = session.run(None, {name: np.asarray(value) for name, value in inputs.items()})
    return dict(zip((output.name for output in session.get_outputs()), found, strict=True))


def random_texts(predictor: Predictor, number: int) -> torch.Tensor:
    rows = torch.randn(number, predictor.model.text_classifier.embedding_dim)
    return torch.nn.functional.normalize(rows, dim=-1)


def logits_of(predictor: Predictor, encoded, texts: torch.Tensor) -> np.ndarray:
    return class_logits(encoded.mask_embeddings, texts, predictor.model.text_classifier.logit_scale).numpy()


@pytest.mark.parametrize("height, width, _, num_texts", SIZES)
def test_the_whole_is_the_model_for_any_size(maskclip, height, width, _, num_texts):
    predictor, folder = maskclip
    image, texts = random_image(height, width), random_texts(predictor, num_texts)
    encoded = predictor.model.encode({"image": image})
    found = run(folder / "whole.onnx", image=image.permute(1, 2, 0), text_embeddings=texts)
    np.testing.assert_allclose(found["class_logits"], logits_of(predictor, encoded, texts), atol=1e-3)
    np.testing.assert_allclose(found["object_scores"], encoded.proposals.object_scores, atol=1e-5)
    np.testing.assert_allclose(found["mask_logits"], encoded.proposals.mask_logits, atol=1e-3)
    assert tuple(found["mask_extent"]) == encoded.proposals.padded_hw


def test_the_program_of_torch_export_is_the_model(maskclip):
    predictor, folder = maskclip
    program = torch.export.load(str(folder / "whole.pt2")).module()
    for height, width, _, num_texts in SIZES:
        image, texts = random_image(height, width), random_texts(predictor, num_texts)
        encoded = predictor.model.encode({"image": image})
        with torch.no_grad():
            logits, _, masks, _ = program(image.permute(1, 2, 0).contiguous(), texts)
        np.testing.assert_allclose(logits, logits_of(predictor, encoded, texts), atol=1e-3)
        np.testing.assert_allclose(masks, encoded.proposals.mask_logits, atol=1e-3)


def test_the_manifest_describes_the_files(maskclip):
    predictor, folder = maskclip
    manifest = json.loads((folder / "manifest.json").read_text())
    part = manifest["parts"]["whole"]
    session = session_of(folder / part["files"]["onnx"][0])
    for described, actual in ((part["inputs"], session.get_inputs()), (part["outputs"], session.get_outputs())):
        assert [each["name"] for each in described] == [each.name for each in actual]
        assert [len(each["shape"]) for each in described] == [len(each.shape) for each in actual]
    assert [each.shape for each in session.get_inputs()] == [["height", "width", 3], ["texts", 16]]
    assert manifest["model"]["name"] == "tiny"
    assert manifest["preprocessing"]["inside_the_graph"]["clip"]["resolution"] == 32
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json", "vocabulary.npz", "whole.onnx", "whole.pt2",
    ]  # fmt: skip


def test_the_vocabulary_file_needs_no_pickle(maskclip):
    predictor, folder = maskclip
    with np.load(folder / "vocabulary.npz") as texts:
        metadata = json.loads(str(texts["metadata"]))
        assert list(texts["names"]) == list(five_categories().names) and texts["is_thing"].tolist()[-2:] == [False] * 2
        expected = predictor.model.text_classifier.text_embeddings(five_categories())
        np.testing.assert_allclose(texts["text_embeddings"], expected)
        assert texts["column_of_row"].tolist() == list(range(5)) and metadata["other_columns"] == []
        assert metadata["temperature"] == pytest.approx(1 / metadata["logit_scale"])


def test_the_example_without_torch_finds_what_the_predictor_finds(maskclip):
    """In a process where nothing of PyTorch or of this package is imported."""
    predictor, folder = maskclip
    image = ROOT / "masqclip_d2/shapes/samples/shapes_1.png"
    example = """
import runpy, sys
sys.argv = ["onnx_without_torch.py", *sys.argv[1:]]
runpy.run_path("examples/onnx_without_torch.py", run_name="__main__")
print(sorted({"torch", "masqclip_d2", "detectron2"} & set(sys.modules)))
"""
    words = [sys.executable, "-c", example, str(folder), str(image)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, imported = done.stdout.splitlines()
    assert imported == "[]"
    segments = sorted(predictor(image, five_categories()).segments, key=lambda segment: -segment.score)
    assert len(segments) > 1
    found = [line.removesuffix(" pixels").rpartition(", ") for line in lines]
    assert [words for words, _, _ in found] == [f"{each.label}: score {each.score:.2f}" for each in segments]
    # Pixels whose two best masks are almost the same may change sides.
    assert [int(area) for _, _, area in found] == pytest.approx([each.area for each in segments], abs=3)


def test_the_classifier_of_masqclip_takes_any_masks(tmp_path):
    predictor = tiny_predictor(tmp_path, "MasQCLIP")
    export_model(predictor, tmp_path / "export", ("classifier",))
    for height, width, num_masks, num_texts in SIZES:
        image, texts = random_image(height, width), random_texts(predictor, num_texts)
        padded_hw = (height + 5, width + 20)
        masks = torch.randn(num_masks, 24, 32) * 5
        proposals = MaskProposals(masks, torch.ones(num_masks), (height, width), padded_hw)
        encoded = predictor.model.encode({"image": image}, proposals)
        inputs = {"mask_logits": masks, "mask_extent": np.array(padded_hw), "text_embeddings": texts}
        found = run(tmp_path / "export" / "classifier.onnx", image=image.permute(1, 2, 0), **inputs)
        assert list(found) == ["class_logits"]
        np.testing.assert_allclose(found["class_logits"], logits_of(predictor, encoded, texts), atol=1e-3)


def test_int8_weights_in_a_file(tmp_path):
    predictor = Predictor()  # tensors of the tiny model are too small
    export_model(predictor, tmp_path, ("classifier",), weight_dtype="int8")
    stored = Counter()
    for tensor in onnx.load(str(tmp_path / "classifier.onnx")).graph.initializer:
        stored[tensor.data_type] += int(np.prod(tensor.dims))
    assert stored[onnx.TensorProto.INT8] > 10 * stored[onnx.TensorProto.FLOAT]
    image, texts, masks = random_image(96, 128), random_texts(predictor, 4), torch.randn(3, 24, 32) * 5
    encoded = predictor.model.encode({"image": image}, MaskProposals(masks, torch.ones(3), (96, 128)))
    inputs = {"mask_logits": masks, "mask_extent": np.array([96, 128]), "text_embeddings": texts}
    found = run(tmp_path / "classifier.onnx", image=image.permute(1, 2, 0), **inputs)
    error = np.abs(found["class_logits"] - logits_of(predictor, encoded, texts))
    assert 1e-3 < error.max() < 3  # rounded, and not more than that
