"""The tower of EVA-CLIP against timm's, which open_clip uses, and through every visual encoder."""

import json

import pytest
import torch
from detectron2.modeling import build_model
from timm.models.eva import Eva

from masqclip_d2.clip import EvaVisionTransformer, build_clip
from masqclip_d2.visual_encoder import ClipBaselineEncoder, MaskClassTokenEncoder, MasqAttention, ValuePoolingEncoder
from masqclip_d2.visual_encoder.relative_mask_attention import attentions_with_rma
from tests.clip.tiny_eva import KINDS, eva_tower, timm_eva
from tests.helpers import TINY_CLIP, five_categories, random_image, tiny_config

CLOSE = {"atol": 2e-5, "rtol": 1e-5}


@pytest.fixture(params=KINDS)
def towers(request):
    """(our tower, timm's with the same weights)."""
    trunk = timm_eva(request.param)
    return eva_tower(request.param, trunk), trunk


@pytest.fixture
def eva02():
    return eva_tower("eva02", timm_eva("eva02"))


@pytest.fixture
def inputs():
    coarse = torch.randn(2, 4, 3, 3)
    return torch.randn(2, 3, 24, 24), coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


@torch.no_grad()
def test_equals_timm_with_the_same_weights(towers, inputs):
    tower, trunk = towers
    image = inputs[0]
    tokens, _ = trunk._pos_embed(trunk.patch_embed(image))
    torch.testing.assert_close(tower.embed(image), tokens, **CLOSE)
    for block in tower.blocks:
        tokens = block.attend(tokens, block.attention_inputs(tokens))
    torch.testing.assert_close(trunk.norm(tokens), trunk.forward_features(image), **CLOSE)
    torch.testing.assert_close(tower(image), trunk(image), **CLOSE)
    assert (tower(image)[0] - tower(image)[1]).abs().max() > 0.1


def test_towers_differ_by_kind(inputs):
    trunk = timm_eva("eva")
    tower = eva_tower("eva", trunk)
    for block in tower.blocks:
        block.post_norm = True
    assert (tower(inputs[0]) - trunk(inputs[0])).abs().max() > 0.1


@torch.no_grad()
def test_image_tokens_and_class_token_are_unchanged_by_masks(towers, inputs):
    tower, trunk = towers
    image, masks = inputs
    result = MaskClassTokenEncoder(tower)(image, masks)
    torch.testing.assert_close(trunk.norm(result.clip_tokens), trunk.forward_features(image), **CLOSE)
    torch.testing.assert_close(result.class_embedding, trunk(image), **CLOSE)
    without = MaskClassTokenEncoder(tower)(image, masks[:, :0])
    assert torch.equal(result.clip_tokens, without.clip_tokens)
    distances = torch.cdist(result.mask_embeddings[0], result.mask_embeddings[0]) + torch.eye(4)
    assert distances.min() > 1e-3


@torch.no_grad()
def test_full_mask_becomes_the_image_embedding_of_timm(towers, inputs):
    tower, trunk = towers
    result = MaskClassTokenEncoder(tower)(inputs[0], torch.full((2, 4, 24, 24), 3.0))
    torch.testing.assert_close(result.mask_embeddings, trunk(inputs[0])[:, None].expand(-1, 4, -1), **CLOSE)


def test_relative_mask_attention(towers, inputs):
    tower, trunk = towers
    image, masks = inputs
    encoder = MaskClassTokenEncoder(tower, attentions_with_rma(tower, [1, 3])).eval()
    result = encoder(image, masks)
    assert [refined.shape for refined in result.refined_mask_logits] == [(2, 4, 24, 24)] * 2
    assert (result.refined_mask_logits[-1] - masks).abs().max() > 1e-3
    torch.testing.assert_close(result.class_embedding, trunk(image), **CLOSE)
    (result.mask_embeddings.square().sum() + result.refined_mask_logits[-1].square().sum()).backward()
    assert {name.split(".")[0] for name, p in encoder.named_parameters() if p.grad is not None} == {"mask_attentions"}


@pytest.mark.parametrize("tuned", [("query",), ("query", "key", "value")])
def test_masq_tuning_starts_as_clip(towers, inputs, tuned):
    tower, _ = towers
    attentions = [MasqAttention(tower.width, tuned) for _ in tower.blocks]
    for attention, block in zip(attentions, tower.blocks, strict=True):
        attention.start_as(block)
    encoder = MaskClassTokenEncoder(tower, attentions, own_position=True)
    torch.testing.assert_close(
        encoder(*inputs).mask_embeddings, MaskClassTokenEncoder(tower)(*inputs).mask_embeddings, **CLOSE
    )
    moved = tower.mask_class_tokens(tower.embed(inputs[0]), 1, tower.class_position + 1)
    assert (moved - tower.embed(inputs[0])[:, :1]).abs().min() > 0.5


@torch.no_grad()
def test_value_pooling_adds_what_the_last_attention_adds(towers, inputs):
    """With one block, and one patch in the mask, the pooled value passes inner norm, projection and outer norm."""
    tower, trunk = towers
    mask = torch.full((2, 1, 24, 24), -3.0)
    mask[:, :, :8, 8:16] = 3.0
    found = ValuePoolingEncoder(tower)(inputs[0], mask).mask_embeddings[:, 0]
    tokens = tower.embed(inputs[0])
    for block in tower.blocks[:-1]:
        tokens = block.attend(tokens, block.attention_inputs(tokens))
    last = trunk.blocks[-1]
    if tower.kind == "eva02":
        value = last.attn.v_proj(last.norm1(tokens[:, 2]))
        added = last.attn.proj(last.attn.norm(value))
    else:
        normed = tokens[:, 2] if tower.kind == "eva_post_norm" else last.norm1(tokens[:, 2])
        value = last.attn.qkv(normed)[:, 64:] + last.attn.v_bias
        added = last.attn.proj(value)
        added = last.norm1(added) if tower.kind == "eva_post_norm" else added
    torch.testing.assert_close(found, trunk.head(trunk.norm(added)), **CLOSE)


def test_clip_baseline(eva02, inputs):
    image, masks = inputs
    result = ClipBaselineEncoder(eva02, batch_size=3)(image, torch.full_like(masks, 1.0)).mask_embeddings
    torch.testing.assert_close(result, eva02(image)[:, None].expand(-1, 4, -1), **CLOSE)


def test_bfloat16_stays_close(eva02, inputs):
    encoder = MaskClassTokenEncoder(eva02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(*inputs).mask_embeddings.float()
    assert torch.cosine_similarity(half, encoder(*inputs).mask_embeddings, dim=-1).min() > 0.99


def test_another_resolution_has_its_own_positions(inputs):
    """Rotary positions are interpolated into the grid of the first training; learned ones are those of the weights."""
    trunk = timm_eva("eva02", img_size=40)
    tower = EvaVisionTransformer(
        kind="eva02", input_resolution=40, patch_size=8, width=32, layers=3, heads=2, output_dim=16, mlp_width=85
    )
    tower.load_state_dict(trunk.state_dict(), strict=True)
    image = torch.randn(1, 3, 40, 40)
    torch.testing.assert_close(tower(image), trunk(image), **CLOSE)
    with pytest.raises(ValueError, match=r"takes images of shape \(B, 3, 40, 40\), got \(2, 3, 24, 24\)"):
        tower(inputs[0])


@pytest.mark.parametrize(
    ("method", "opts"),
    [
        ("MaskCLIP", ("MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]")),
        ("MaskCLIP", ()),
        ("MasQCLIP", ()),
        ("ValuePooling", ()),
        ("ClipBaseline", ()),
    ],
    ids=["RMA", "MaskCLIP", "MasQCLIP", "ValuePooling", "ClipBaseline"],
)
def test_whole_methods(tmp_path, method, opts):
    sizes = {**TINY_CLIP, "vision_kind": "eva02", "vision_mlp_width": 40}
    (tmp_path / "eva.json").write_text(json.dumps(sizes))
    cfg = tiny_config(tmp_path, method, "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tmp_path / "eva.json"), *opts)
    model = build_model(cfg).eval()
    assert isinstance(model.visual_encoder.visual, EvaVisionTransformer)
    model.set_vocabulary(five_categories())
    with torch.no_grad():
        result = model([{"image": random_image(40, 72)}])[0]
    labels = result["sem_seg_labels"]
    assert labels.shape == (40, 72) and labels.min() >= 0 and labels.max() < 5
    assert torch.isfinite(result["sem_seg_confidence"]).all()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert bool(trained) == (method == "MasQCLIP" or bool(opts))
    assert all("mask_attentions" in name for name in trained)


def test_training_from_scratch_reaches_every_parameter():
    clip = build_clip({**TINY_CLIP, "vision_kind": "eva_post_norm"})
    side = clip.visual.input_resolution
    clip.visual(torch.randn(2, 3, side, side)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in clip.visual.parameters())


def test_bad_sizes():
    sizes = {"input_resolution": 24, "patch_size": 8, "width": 32, "layers": 1, "heads": 2, "output_dim": 8}
    with pytest.raises(ValueError, match="Unknown kind of EVA 'eva03'; known: eva, eva02, eva_post_norm"):
        EvaVisionTransformer(kind="eva03", mlp_width=8, **sizes)
    with pytest.raises(ValueError, match="width 32 a multiple of heads 3"):
        EvaVisionTransformer(kind="eva02", mlp_width=8, **{**sizes, "heads": 3})
    assert isinstance(timm_eva("eva02"), Eva)
