import pytest
import torch

from masqclip_d2.visual_encoder import MaskClassTokenEncoder
from masqclip_d2.visual_encoder.masq_attention import MasqAttention


def tuned_encoder(visual, tuned=("query",), from_clip=True, **options):
    attentions = [MasqAttention(visual.width, tuned) for _ in visual.blocks]
    if from_clip:
        for attention, block in zip(attentions, visual.blocks, strict=True):
            attention.start_as(block)
    return MaskClassTokenEncoder(visual.requires_grad_(False), attentions, **options).eval()


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return torch.randn(2, 3, 24, 24), torch.randn(2, 4, 24, 24)


@pytest.mark.parametrize("tuned", [(), ("query",), ("key",), ("value",), ("query", "key", "value")], ids="+".join)
def test_initialized_from_clip_equals_no_tuning(visual, inputs, tuned):
    plain = MaskClassTokenEncoder(visual)(*inputs)
    result = tuned_encoder(visual, tuned, own_position=True)(*inputs)
    torch.testing.assert_close(result.mask_embeddings, plain.mask_embeddings, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tuned", [("query",), ("key",), ("value",)], ids="+".join)
def test_only_the_new_projections_are_trained_and_clip_is_unchanged(visual, inputs, tuned):
    plain = MaskClassTokenEncoder(visual)(*inputs)
    encoder = tuned_encoder(visual, tuned, from_clip=False, own_position=True)
    result = encoder(*inputs)
    torch.testing.assert_close(result.clip_tokens, plain.clip_tokens, atol=0, rtol=0)
    result.mask_embeddings.square().sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    expected = {
        f"mask_attentions.{i}.mask_{tuned[0]}_proj.{x}" for i in range(visual.layers) for x in ("weight", "bias")
    }
    assert trained == expected


def test_own_position_is_used(visual, inputs):
    encoder = tuned_encoder(visual, own_position=True)
    before = encoder(*inputs).mask_embeddings
    with torch.no_grad():
        encoder.mask_embeddings += torch.randn_like(encoder.mask_embeddings)
    assert not torch.allclose(encoder(*inputs).mask_embeddings, before, atol=1e-3)


@pytest.mark.parametrize("tuned", [("output",), ("query", "q")])
def test_unknown_projection_is_refused(tuned):
    with pytest.raises(ValueError, match="query, key, value"):
        MasqAttention(8, tuned)
