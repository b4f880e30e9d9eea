import pytest
import torch
from timm.layers import RotaryEmbeddingCat, apply_rot_embed_cat

from masqclip_d2.clip.rotary import RotaryPositions


@pytest.mark.parametrize(("grid", "head_width"), [(24, 64), (16, 64), (14, 64), (3, 16)])
def test_equals_timm(grid, head_width):
    positions = RotaryEmbeddingCat(
        head_width, in_pixels=False, feat_shape=(grid, grid), ref_feat_shape=(16, 16)
    ).get_embed()
    heads = torch.randn(2, 3, 1 + grid**2, head_width)
    rotated = RotaryPositions(grid, head_width).rotate(heads)
    assert torch.equal(rotated[:, :, 0], heads[:, :, 0])  # the class token
    torch.testing.assert_close(rotated[:, :, 1:], apply_rot_embed_cat(heads[:, :, 1:], positions), atol=2e-6, rtol=1e-6)


def test_scores_depend_on_the_distance_only():
    positions = RotaryPositions(4, 8)
    query, key = torch.randn(8), torch.randn(8)
    both = [positions.rotate(vector.expand(1, 1, 17, 8))[0, 0, 1:].reshape(4, 4, 8) for vector in (query, key)]
    scores = torch.einsum("ijd,kld->ijkl", *both)
    torch.testing.assert_close(scores[0, 0, 1, 2], scores[2, 1, 3, 3], atol=1e-5, rtol=1e-5)
    assert (scores[0, 0, 1, 2] - scores[0, 0, 2, 1]).abs() > 1e-4  # rows and columns differ


def test_tables_made_in_inference_mode_serve_training():
    positions = RotaryPositions(2, 4)
    with torch.inference_mode():
        positions.rotate(torch.randn(1, 1, 5, 4))
    heads = torch.randn(1, 1, 5, 4, requires_grad=True)
    positions.rotate(heads).square().sum().backward()
    torch.testing.assert_close(heads.grad, 2 * heads.detach(), atol=1e-5, rtol=1e-5)  # a rotation keeps lengths


def test_half_precision_and_bad_heads():
    heads = torch.randn(1, 2, 10, 8)
    half = RotaryPositions(3, 8).rotate(heads.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), RotaryPositions(3, 8).rotate(heads), atol=0.05, rtol=0.02)
    with pytest.raises(ValueError, match="multiple of 4 channels, got 6"):
        RotaryPositions(3, 6)
