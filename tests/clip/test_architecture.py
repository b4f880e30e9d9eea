import json

import pytest
import torch

from masqclip_d2.clip import ClipArchitecture, build_clip
from tests.clip import tiny_clip

SIZES = {**tiny_clip.SIZES, "text_width": 128, "text_heads": 2}


def test_sizes_are_read_from_the_weights():
    model = build_clip({**SIZES, "vision_mlp_width": 100})
    found = ClipArchitecture.from_state_dict(model.openai_state_dict())
    assert found == model.architecture and found.vision_mlp_width == 100


def test_mlp_width_defaults_to_four_times_the_width():
    assert ClipArchitecture.from_dict(SIZES).vision_mlp_width == 256


def test_dictionary_round_trip():
    architecture = ClipArchitecture.from_dict(SIZES)
    assert ClipArchitecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture


def test_shipped_architecture_builds():
    model = build_clip("shapes-tiny")
    assert model.visual.input_resolution == 128 and model.visual.patch_size == 8
    assert sum(p.numel() for p in model.parameters()) < 6e6
    assert all(p.requires_grad for p in model.parameters()) and model.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 0}, "patch_size of a CLIP architecture must be a positive integer, got 0"),
        ({"vision_layers": 2.0}, "vision_layers .* got 2.0"),
        ({"image_resolution": 20}, "image_resolution 20 is not a multiple of 8"),
        ({"text_heads": 3}, "text_width 128 is not a multiple of 3"),
        ({"activation": "relu"}, "Unknown activation 'relu'"),
        ({"depth": 3}, r"missing fields \[\], unknown fields \['depth'\]"),
    ],
)
def test_bad_sizes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        ClipArchitecture.from_dict({**SIZES, **change})


def test_missing_sizes_are_named():
    sizes = {name: size for name, size in SIZES.items() if name != "embed_dim"}
    with pytest.raises(ValueError, match=r"missing fields \['embed_dim'\]"):
        ClipArchitecture.from_dict(sizes)


def test_architecture_by_name_or_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(SIZES))
    assert ClipArchitecture.from_name(path) == ClipArchitecture.from_dict(SIZES)
    path.write_text("{")
    with pytest.raises(ValueError, match="mine.json"):
        ClipArchitecture.from_name(path)
    with pytest.raises(FileNotFoundError, match="'unknown' is neither a JSON file nor a known name .*tiny.*, ViT-B/32"):
        ClipArchitecture.from_name("unknown")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["visual.layer1.0.conv1.weight"], "The vision tower is a ResNet"),
        (["visual.trunk.blocks.0.attn.qkv.weight"], "a timm model .*CLIP_REGISTRY"),
        (["vision_model.embeddings.class_embedding"], "a Hugging Face model"),
        (["stem.conv1.weight"], "Not the weights of a CLIP: visual.conv1.weight, .* The first names are: stem.conv1"),
    ],
)
def test_unsupported_towers_are_named(names, message):
    with pytest.raises(ValueError, match=message):
        ClipArchitecture.from_state_dict(dict.fromkeys(names, torch.zeros(1)))
