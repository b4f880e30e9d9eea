"""The configured CLIP: the default builder, and a CLIP of another kind (timm) through every visual encoder."""

import json
from types import SimpleNamespace

import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.clip import CLIP_REGISTRY, ClipArchitecture, ClipPreprocessing, build_clip, clip_from_config, save_clip
from masqclip_d2.visual_encoder import ClipBaselineEncoder, MaskClassTokenEncoder, MasqAttention
from masqclip_d2.visual_encoder.relative_mask_attention import attentions_with_rma
from masqclip_d2.vocabulary import TextClassifier
from tests.clip.timm_clip import TimmClip
from tests.helpers import five_categories, random_image, tiny_config

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture
def tower():
    return TimmClip().visual.requires_grad_(False).eval()


@pytest.fixture
def inputs():
    coarse = torch.randn(2, 4, 3, 3)
    return torch.randn(2, 3, 24, 24), coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def test_full_mask_becomes_the_image_embedding_of_timm(tower, inputs):
    image = inputs[0]
    result = MaskClassTokenEncoder(tower)(image, torch.full((2, 4, 24, 24), 3.0))
    torch.testing.assert_close(result.mask_embeddings, tower.trunk(image)[:, None].expand(-1, 4, -1), **CLOSE)
    torch.testing.assert_close(result.class_embedding, tower.trunk(image), **CLOSE)


def test_masks_of_a_timm_tower_have_different_embeddings(tower, inputs):
    result = MaskClassTokenEncoder(tower)(*inputs)
    distances = torch.cdist(result.mask_embeddings[0], result.mask_embeddings[0]) + torch.eye(4)
    assert distances.min() > 1e-3
    torch.testing.assert_close(result.class_embedding, tower.trunk(inputs[0]), **CLOSE)


def test_relative_mask_attention_on_a_timm_tower(tower, inputs):
    encoder = MaskClassTokenEncoder(tower, attentions_with_rma(tower, [1, 3])).eval()
    result = encoder(*inputs)
    assert [masks.shape for masks in result.refined_mask_logits] == [(2, 4, 24, 24)] * 2
    torch.testing.assert_close(result.class_embedding, tower.trunk(inputs[0]), **CLOSE)
    (result.mask_embeddings.square().sum() + result.refined_mask_logits[-1].square().sum()).backward()
    assert {name.split(".")[0] for name, p in encoder.named_parameters() if p.grad is not None} == {"mask_attentions"}


def test_masq_tuning_starts_as_the_timm_tower(tower, inputs):
    attentions = [MasqAttention(tower.width, ("query", "key", "value")) for _ in tower.blocks]
    for attention, block in zip(attentions, tower.blocks, strict=True):
        attention.start_as(block)
    tuned = MaskClassTokenEncoder(tower, attentions, own_position=True)(*inputs)
    torch.testing.assert_close(tuned.mask_embeddings, MaskClassTokenEncoder(tower)(*inputs).mask_embeddings, **CLOSE)


def test_baseline_blackens_in_the_normalization_of_the_tower(tower):
    rgb = random_image(24, 24)
    encoder = ClipBaselineEncoder(tower, batch_size=2)
    result = encoder(tower.preprocessing.image(rgb, 24)[None], torch.full((1, 1, 24, 24), -1.0))
    torch.testing.assert_close(result.mask_embeddings[0], tower(torch.full((1, 3, 24, 24), -1.0)), **CLOSE)


@pytest.mark.parametrize(
    ("method", "opts"),
    [("MaskCLIP", ("MODEL.MASQCLIP.RMA.LAYERS", "[2]")), ("MasQCLIP", ()), ("ClipBaseline", ())],
    ids=["MaskCLIP", "MasQCLIP", "ClipBaseline"],
)
def test_whole_methods_with_a_timm_clip(tmp_path, method, opts):
    cfg = tiny_config(tmp_path, method, "MODEL.MASQCLIP.CLIP.BUILDER", "TimmClipForTests", *opts)
    model = build_model(cfg).eval()
    model.set_vocabulary(five_categories())
    with torch.no_grad():
        result = model([{"image": random_image(40, 72)}])[0]
    labels, confidence = result["sem_seg_labels"], result["sem_seg_confidence"]
    assert labels.shape == (40, 72) and labels.min() >= 0 and labels.max() < 5
    assert torch.isfinite(confidence).all() and confidence.max() > 0
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert bool(trained) == (method != "ClipBaseline") and all("mask_attentions" in name for name in trained)


def test_shapes_that_contradict_a_tower_are_refused(tower, inputs, monkeypatch):
    embed, project = tower.embed, tower.project
    monkeypatch.setattr(tower, "embed", lambda image: embed(image)[:, 1:])
    with pytest.raises(
        ValueError, match=r"embed of the vision tower returned shape \(2, 9, 32\), but .* \(2, 10, 32\)"
    ):
        MaskClassTokenEncoder(tower)(*inputs)
    monkeypatch.setattr(tower, "embed", embed)
    monkeypatch.setattr(tower, "project", lambda tokens: project(tokens)[..., :5])
    with pytest.raises(
        ValueError, match=r"project of the vision tower returned shape \(2, 4, 5\), but .* \(2, 4, 16\)"
    ):
        MaskClassTokenEncoder(tower)(*inputs)


def test_text_embeddings_of_another_shape_are_refused(monkeypatch):
    clip = TimmClip()
    monkeypatch.setattr(clip.text, "encode", lambda texts: torch.zeros(1, 7))
    with pytest.raises(ValueError, match=r"encode of the text tower returned shape \(1, 7\) for 5 texts, .* is 16"):
        TextClassifier(clip.text, clip.logit_scale).text_embeddings(five_categories())


def test_default_builder_is_frozen_and_has_the_configured_antialias(tmp_path):
    cfg = tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.CLIP.ANTIALIAS", "True")
    clip = clip_from_config(cfg)
    assert clip.visual.preprocessing == ClipPreprocessing(antialias=True)
    assert not clip.pretrained and not clip.visual.training and not clip.text.training
    assert not any(p.requires_grad for tower in (clip.visual, clip.text) for p in tower.parameters())


def test_preprocessing_of_the_weights_reaches_the_model(tmp_path):
    cfg = tiny_config(tmp_path, "MaskCLIP")
    clip = build_clip(ClipArchitecture.from_name(cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE))
    clip.visual.preprocessing = ClipPreprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    save_clip(tmp_path / "clip.safetensors", clip)
    cfg.MODEL.MASQCLIP.CLIP.NAME, cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE = str(tmp_path / "clip.safetensors"), ""
    model = build_model(cfg)
    white = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    proposals = model.proposer.propose([{"image": white}])[0]
    assert torch.equal(model.encoder_input(white, proposals).image, torch.ones(3, 32, 32))


def test_architecture_states_what_does_not_follow_from_the_weights(tmp_path):
    cfg = tiny_config(tmp_path, "MaskCLIP")
    fields = {**ClipArchitecture.from_name(cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE).to_dict(), "activation": "gelu"}
    clip = build_clip(fields)
    torch.save(clip.openai_state_dict(), tmp_path / "plain.pt")
    (tmp_path / "gelu.json").write_text(json.dumps(fields))
    cfg.MODEL.MASQCLIP.CLIP.NAME = str(tmp_path / "plain.pt")
    cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE = str(tmp_path / "gelu.json")
    image = torch.randn(1, 3, fields["image_resolution"], fields["image_resolution"])
    torch.testing.assert_close(clip_from_config(cfg).visual(image), clip.eval().visual(image))
    cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE = "shapes-tiny"
    with pytest.raises(ValueError, match="another architecture"):
        clip_from_config(cfg)


def test_neither_name_nor_architecture_is_refused(tmp_path):
    cfg = tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", "")
    with pytest.raises(ValueError, match="set one of them"):
        build_model(cfg)


def test_unknown_builder_is_refused(tmp_path):
    cfg = tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.CLIP.BUILDER", "MyClip")
    with pytest.raises(ValueError, match="BUILDER is 'MyClip'; known: .*PretrainedClip.*--import"):
        clip_from_config(cfg)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda clip: delattr(clip, "text"), "its CLIP lacks text; see clip.Clip"),
        (lambda clip: delattr(clip.visual, "blocks"), "the vision tower lacks blocks; see clip.VisionTower"),
        (lambda clip: setattr(clip, "text", SimpleNamespace(**dict.fromkeys(("output_dim", "encode", "content_digest",
                                                                             "parameters")))),
         "the text tower must be an nn.Module, got SimpleNamespace"),
        (lambda clip: setattr(clip.text, "output_dim", 5), "image embeddings have length 16, text embeddings 5"),
    ],
)  # fmt: skip
def test_incomplete_clips_are_refused(tmp_path, monkeypatch, change, message):
    clip = TimmClip()
    change(clip)
    monkeypatch.setitem(CLIP_REGISTRY._obj_map, "Incomplete", lambda cfg: clip)
    cfg = tiny_config(tmp_path, "MaskCLIP", "MODEL.MASQCLIP.CLIP.BUILDER", "Incomplete")
    with pytest.raises(ValueError, match=message):
        clip_from_config(cfg)
