import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.clip import load_clip, save_clip
from masqclip_d2.shapes.clip_pretraining.clip_exporter import ClipExporter
from tests.clip import timm_clip  # noqa: F401  (registers TimmClipForTests)
from tests.helpers import random_image, tiny_config


@pytest.fixture
def cfg(tmp_path):
    return tiny_config(tmp_path, "ClipPretraining")


@pytest.mark.parametrize("side", [32, 16])
def test_loss_reaches_both_towers(cfg, side):
    model = build_model(cfg)
    records = [{"image": random_image(side, side, seed), "caption": f"{seed} cats"} for seed in range(3)]
    losses = model(records)
    assert set(losses) == {"loss_contrastive"} and torch.isfinite(losses["loss_contrastive"])
    losses["loss_contrastive"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_pretrained_weights_are_not_initialized_again(cfg, tmp_path):
    clip = build_model(cfg).clip
    save_clip(tmp_path / "clip.safetensors", clip)
    cfg.MODEL.MASQCLIP.CLIP.NAME, cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE = str(tmp_path / "clip.safetensors"), ""
    model = build_model(cfg)
    saved = load_clip(tmp_path / "clip.safetensors").openai_state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.clip.openai_state_dict().items())
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_exports_the_trained_clip(cfg):
    model = build_model(cfg)
    (hook,) = model.build_hooks(cfg)
    assert isinstance(hook, ClipExporter)


def test_no_inference(cfg):
    with pytest.raises(RuntimeError, match="has no inference"):
        build_model(cfg).eval()([])


def test_other_clip_builders_are_refused(cfg):
    cfg.MODEL.MASQCLIP.CLIP.BUILDER = "TimmClipForTests"
    with pytest.raises(ValueError, match="'PretrainedClip' only, got 'TimmClipForTests'"):
        build_model(cfg)
