from types import SimpleNamespace

import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.clip import load_clip, save_clip
from masqclip_d2.shapes.clip_pretraining.clip_exporter import ClipExporter
from masqclip_d2.shapes.clip_pretraining.weight_average import WeightAverageUpdate
from masqclip_d2.visual_encoder import MaskClassTokenEncoder
from tests.clip import timm_clip  # noqa: F401  (registers TimmClipForTests)
from tests.helpers import random_image, tiny_config


@pytest.fixture
def cfg(tmp_path):
    return tiny_config(tmp_path, "ClipPretraining")


@pytest.mark.parametrize("side", [32, 16])
def test_loss_reaches_both_towers(cfg, side):
    model = build_model(cfg)
    records = [{"image": random_image(side, side, seed), "captions": [f"{seed} cats"]} for seed in range(3)]
    losses = model(records)
    assert set(losses) == {"loss_contrastive"} and torch.isfinite(losses["loss_contrastive"])
    losses["loss_contrastive"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def _with_regions(seed, num_regions):
    regions = torch.zeros(num_regions, 32, 32, dtype=torch.bool)
    for index in range(num_regions):
        regions[index, 8 * index : 8 * index + 8] = True
    captions = [f"{seed} {index} cats" for index in range(num_regions)]
    return {"image": random_image(32, 32, seed), "captions": captions, "regions": regions}


def test_every_region_is_matched_to_its_own_caption(cfg, monkeypatch):
    model = build_model(cfg)
    seen = {}

    def keep(images, texts, scale, ids):
        seen.update(images=images, texts=texts, ids=ids)
        return (images.sum() + texts.sum()) * scale

    monkeypatch.setattr("masqclip_d2.shapes.clip_pretraining.model.contrastive_loss", keep)
    records = [_with_regions(0, 2), {"image": random_image(32, 32, 5), "captions": ["0 1 cats"]}, _with_regions(1, 3)]
    model(records)
    # Whole images come first, then the regions; equal captions have equal ids.
    assert seen["images"].shape == seen["texts"].shape == (6, 16) and len(set(seen["ids"].tolist())) == 5
    assert seen["ids"][0] == seen["ids"][2]
    visual = model.clip.visual
    image = visual.preprocessing.normalize(records[2]["image"][None].float() / 255)
    masks = torch.stack([records[2]["regions"][1]])[None].float() * 2 - 1
    expected = MaskClassTokenEncoder(visual)(image, masks).mask_embeddings[0, 0]
    torch.testing.assert_close(seen["images"][4], expected)
    model.zero_grad()
    model(records)["loss_contrastive"].backward()
    assert all(parameter.grad is not None for parameter in model.clip.parameters())


def test_running_average_is_what_is_written_and_resumes(cfg):
    cfg.MODEL.SHAPES.AVERAGE_DECAY = 0.9
    model = build_model(cfg)
    update, exporter = model.build_hooks(cfg)
    assert isinstance(update, WeightAverageUpdate) and exporter._clip is model.average
    start = model.average.visual.proj.clone()
    with torch.no_grad():
        model.clip.visual.proj.add_(1.0)
    model.update_average(0.9)
    torch.testing.assert_close(model.average.visual.proj, start + 0.1)
    assert any(name.startswith("average.") for name in model.state_dict())
    assert not any(parameter.requires_grad for parameter in model.average.parameters())


def test_the_average_follows_the_weights_closely_at_first(cfg):
    class Model:
        decays = []

        def update_average(self, decay):
            self.decays.append(decay)

    hook = WeightAverageUpdate(Model(), 0.9)
    hook.trainer = SimpleNamespace(iter=0)
    for iteration in (0, 9, 1000):
        hook.trainer.iter = iteration
        hook.after_step()
    assert Model.decays == [1 / 11, 0.5, 0.9]


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_other_decays_are_refused(cfg, decay):
    cfg.MODEL.SHAPES.AVERAGE_DECAY = decay
    with pytest.raises(ValueError, match="AVERAGE_DECAY"):
        build_model(cfg)


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
