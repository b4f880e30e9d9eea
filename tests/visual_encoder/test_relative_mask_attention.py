import pytest
import torch

from masqclip_d2.ops.relative_scores import variance_root
from masqclip_d2.visual_encoder import MaskClassTokenEncoder, relative_mask_attention
from masqclip_d2.visual_encoder.relative_mask_attention import (
    MaskRefinement,
    RelativeMaskAttention,
    attentions_with_rma,
)


def encoder_with_rma(visual, refine=True, layers=(0, 2)):
    attentions = attentions_with_rma(visual, [layer + 1 for layer in layers], refine)
    return MaskClassTokenEncoder(visual.requires_grad_(False), attentions).eval()


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return torch.randn(2, 3, 24, 24), torch.randn(2, 4, 24, 24)


def test_image_tokens_are_those_of_plain_clip(visual, inputs):
    plain = MaskClassTokenEncoder(visual)(*inputs)
    result = encoder_with_rma(visual)(*inputs)
    torch.testing.assert_close(result.clip_tokens, plain.clip_tokens, atol=0, rtol=0)
    assert not torch.allclose(result.mask_embeddings, plain.mask_embeddings, atol=1e-3)


def test_every_rma_layer_refines_the_masks_and_the_input_is_unchanged(visual, inputs):
    image, masks = inputs
    before = masks.clone()
    refined = encoder_with_rma(visual)(image, masks).refined_mask_logits
    assert [tuple(m.shape) for m in refined] == [(2, 4, 24, 24)] * 2
    assert not torch.equal(refined[0], refined[1])
    torch.testing.assert_close(masks, before, atol=0, rtol=0)


def test_without_refinement_no_masks_are_returned(visual, inputs):
    assert encoder_with_rma(visual, refine=False)(*inputs).refined_mask_logits == ()


def test_masks_of_an_image_do_not_depend_on_each_other(visual, inputs):
    image, masks = inputs
    encoder = encoder_with_rma(visual)
    alone = encoder(image, masks[:, 1:2])
    together = encoder(image, masks)
    torch.testing.assert_close(alone.mask_embeddings[:, 0], together.mask_embeddings[:, 1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        alone.refined_mask_logits[-1][:, 0], together.refined_mask_logits[-1][:, 1], atol=1e-5, rtol=1e-5
    )


def test_exactly_the_parameters_of_rma_are_trained(visual, inputs):
    encoder = encoder_with_rma(visual)
    result = encoder(*inputs)
    (result.mask_embeddings.square().sum() + sum(m.square().sum() for m in result.refined_mask_logits)).backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in encoder.named_parameters() if name.startswith("mask_attentions.")}


def test_residual_of_a_patch_is_ordered_row_by_row():
    refinement = MaskRefinement(width=2, patch_size=2)
    with torch.no_grad():
        refinement.proj.weight.zero_()
        refinement.proj.bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    refined = refinement(torch.zeros(1, 1, 2), torch.zeros(1, 6, 2), torch.zeros(1, 1, 4, 6))
    tile = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(refined.mask_logits[0, 0], tile.repeat(2, 3))
    assert refined.maxima.tolist() == [[[4.0] * 6]]


def test_no_masks(visual):
    result = encoder_with_rma(visual)(torch.randn(1, 3, 24, 24), torch.zeros(1, 0, 24, 24))
    assert result.mask_embeddings.shape[:2] == (1, 0)


def test_what_depends_on_the_weights_alone_is_kept_while_they_stay(monkeypatch):
    made = []

    def counted(*tensors):
        made.append(1)
        return variance_root(*tensors)

    monkeypatch.setattr(relative_mask_attention, "variance_root", counted)
    monkeypatch.setattr(relative_mask_attention, "is_asynchronous", lambda device: True)  # as on a GPU
    attention = RelativeMaskAttention(16, 2, 2)
    assert attention._variance_root() is None  # gradients
    with torch.no_grad():
        first, again = attention._variance_root(), attention._variance_root()
        assert first is again and len(made) == 1
        first = first.clone()
        attention.mask_patch_proj.weight.mul_(2)
        changed = attention._variance_root()
        torch.testing.assert_close(changed[:-1, :-1].abs(), 2 * first[:-1, :-1].abs())
        attention.load_state_dict(RelativeMaskAttention(16, 2, 2).state_dict())
        attention._variance_root()
    assert len(made) == 3


def root_of(attention):
    return variance_root(attention.mask_patch_proj.weight, attention.mask_patch_proj.bias)


@torch.no_grad()
def test_what_is_kept_follows_weights_that_are_loaded_in_the_same_memory():
    """Networks that were compiled or recorded as a CUDA graph do not ask again."""
    attention = RelativeMaskAttention(16, 2, 2)
    with torch.inference_mode():
        attention.prepare_inference()
    kept = attention._root[1]
    assert not kept.is_inference()
    for _ in range(2):
        loaded = RelativeMaskAttention(16, 2, 2)
        attention.load_state_dict(loaded.state_dict())
        assert attention._root[1] is kept
        torch.testing.assert_close(kept, root_of(loaded))


def test_weights_made_in_inference_mode():
    with torch.inference_mode():
        attention = RelativeMaskAttention(16, 2, 2)
        attention.prepare_inference()
        attention.load_state_dict(RelativeMaskAttention(16, 2, 2).state_dict())
        torch.testing.assert_close(attention._root[1], root_of(attention))
