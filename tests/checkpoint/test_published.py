"""Published checkpoints: a file with every name and shape of tests/golden/checkpoint_keys.json loads.

The published files are not available to the tests, so files with their names are written: for the full-size models with
one repeated value, which takes no disk space, and small with values that are checked.
"""

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.checkpoint import StrictCheckpointer
from tests.helpers import TINY_CLIP, VIT_L_336, build_without_values, published_name, tiny_config

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_keys.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "config"),
    [("maskclip", "maskclip_r50"), ("masqclip", "masqclip_r50"), ("mask2former_class_agnostic", "coco/teacher_r50")],
)
def test_every_published_name_loads_into_the_full_size_model(tmp_path, monkeypatch, entry, config):
    (tmp_path / "vit_l.json").write_text(json.dumps(VIT_L_336))
    no_name = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tmp_path / "vit_l.json")]
    model = build_without_values(config, *no_name)
    entries = KEYS[entry]["entries"]
    monkeypatch.setattr("masqclip_d2.checkpoint.reading._FEW_BYTES", 2**33)  # tensors that share one value
    value = 0.125
    published = {name: torch.full((), value).expand(shape) for name, shape in entries}
    path = tmp_path / "published.pth"
    torch.save({"model": published, "iteration": 9999}, path)
    assert path.stat().st_size < 2**20
    StrictCheckpointer(model).load(str(path))
    loaded = {name for name, tensor in model.state_dict().items() if (tensor == value).all()}
    expected = [name for name, _ in entries if not name.startswith("criterion.")]
    own = {name for name in model.state_dict() if not name.startswith(("text_classifier.", "criterion."))}
    assert loaded >= own
    assert len(own) == len(expected)


@pytest.mark.parametrize(
    ("meta_architecture", "opts"),
    [
        ("MaskCLIP", ("MODEL.MASQCLIP.RMA.LAYERS", "[6, 12, 18, 24]", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "0")),
        ("MasQCLIP", ()),
    ],
)
def test_values_are_loaded_into_the_right_parameters(tmp_path, meta_architecture, opts, monkeypatch):
    monkeypatch.setitem(TINY_CLIP, "vision_layers", 24)
    torch.manual_seed(0)
    model = build_model(tiny_config(tmp_path, meta_architecture, *opts))
    expected = {
        name: torch.randn_like(tensor)
        for name, tensor in model.state_dict().items()
        if not name.startswith("text_classifier.")
    }
    kind = meta_architecture.lower()
    published = {published_name(name, kind): tensor for name, tensor in expected.items()}
    listed = {name for name, _ in KEYS[kind]["entries"]}
    assert {name for name in published if name.startswith(f"{kind}.")} == {
        n for n in listed if n.startswith(f"{kind}.")
    }
    path = tmp_path / "published.pth"
    torch.save({"model": {**published, "criterion.empty_weight": torch.ones(134)}}, path)
    StrictCheckpointer(model).load(str(path))
    for name, tensor in model.state_dict().items():
        if name in expected:
            assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("file", ["own", "published"])
def test_ground_truth_proposals_ignore_the_proposer_weights_of_a_checkpoint(tmp_path, monkeypatch, file):
    """MaskCLIP, Table 7: the trained model with ground-truth masks instead of its proposals."""
    monkeypatch.setitem(TINY_CLIP, "vision_layers", 24)
    opts = ["MODEL.MASQCLIP.RMA.LAYERS", "[6, 12, 18, 24]", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "0"]
    trained = build_model(tiny_config(tmp_path, "MaskCLIP", *opts)).state_dict()
    state = trained if file == "own" else {published_name(name, "maskclip"): value for name, value in trained.items()}
    torch.save({"model": state}, tmp_path / "f.pth")
    model = build_model(tiny_config(tmp_path, "MaskCLIP", *opts, "MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth"))
    StrictCheckpointer(model).load(str(tmp_path / "f.pth"))
    assert all(torch.equal(trained[name], value) for name, value in model.state_dict().items())
    assert not any(name.startswith("proposer.") for name in model.state_dict())
    torch.save({"model": {**state, "stray": torch.zeros(1)}}, tmp_path / "f.pth")
    with pytest.raises(ValueError, match="1 unexpected: stray"):
        StrictCheckpointer(model).load(str(tmp_path / "f.pth"))
