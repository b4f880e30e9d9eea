import pytest
import torch

from masqclip_d2.visual_encoder import ValuePoolingEncoder


def _inside(*patches, resolution=24, patch=8):
    """(1, 1, R, R) logits of a mask that fills the given patches (row, column)."""
    logits = torch.full((1, 1, resolution, resolution), -10.0)
    for row, column in patches:
        logits[..., row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = 10.0
    return logits


@torch.no_grad()
def test_pooled_values_of_the_touched_patches_pass_the_output_projection(visual):
    image = torch.randn(1, 3, 24, 24)
    found = ValuePoolingEncoder(visual)(image, _inside((0, 0), (1, 2))).mask_embeddings
    tokens = visual.embed(image)
    for block in visual.blocks[:-1]:
        tokens = block(tokens)
    value = visual.blocks[-1].attention_inputs(tokens).value  # (1, N, 1 + P, d)
    mean = (value[:, :, 1 + 0] + value[:, :, 1 + 5]) / 2
    expected = visual.project(visual.blocks[-1].attn.out_proj(mean.flatten(1)))
    torch.testing.assert_close(found[0], expected)


@torch.no_grad()
def test_class_embedding_is_plain_clips(visual):
    image = torch.randn(2, 3, 24, 24)
    encoded = ValuePoolingEncoder(visual)(image, torch.randn(2, 4, 24, 24))
    torch.testing.assert_close(encoded.class_embedding, visual(image))
    assert encoded.mask_embeddings.shape == (2, 4, 16) and encoded.refined_mask_logits == ()


@torch.no_grad()
def test_an_empty_mask_is_embedded_from_the_class_token_and_no_masks_give_none(visual):
    image, encoder = torch.randn(1, 3, 24, 24), ValuePoolingEncoder(visual)
    empty = encoder(image, torch.full((1, 1, 24, 24), -10.0)).mask_embeddings
    assert torch.isfinite(empty).all()
    assert not torch.allclose(empty, encoder(image, _inside((0, 0))).mask_embeddings)
    assert encoder(image, torch.zeros(1, 0, 24, 24)).mask_embeddings.shape == (1, 0, 16)


def test_blocks_without_the_projection_are_refused(visual):
    class Tower(torch.nn.Module):
        blocks = (torch.nn.Identity(),)

    with pytest.raises(TypeError, match="project_attended"):
        ValuePoolingEncoder(Tower())
