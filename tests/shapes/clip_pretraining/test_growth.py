"""A CLIP grown from a smaller one computes what that one does."""

import pytest
import torch

from masqclip_d2.clip import ClipArchitecture, ClipModel
from masqclip_d2.shapes.clip_pretraining.growth import grow_from, larger_patches

SMALL = {
    "image_resolution": 16, "patch_size": 4, "vision_width": 32, "vision_layers": 2, "vision_heads": 2,
    "vision_mlp_width": 64, "embed_dim": 16, "text_width": 32, "text_layers": 1, "text_heads": 2,
    "context_length": 8, "vocab_size": 100, "activation": "gelu",
}  # fmt: skip
LARGE = {**SMALL, "image_resolution": 32, "patch_size": 8, "vision_layers": 5}


def make_clip(seed, **sizes):
    torch.manual_seed(seed)
    return ClipModel(ClipArchitecture(**{**SMALL, **sizes})).requires_grad_(False).eval()


def test_embeddings_stay():
    smaller, clip = make_clip(0), make_clip(1, **LARGE)
    grow_from(smaller, clip)
    images = torch.rand(2, 3, 16, 16)
    larger_images = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(clip.visual(larger_images), smaller.visual(images), rtol=1e-4, atol=1e-5)
    assert torch.equal(clip.logit_scale, smaller.logit_scale)
    for name, value in smaller.text.state_dict().items():
        assert torch.equal(clip.text.state_dict()[name], value), name


def test_new_blocks_add_nothing_and_can_learn():
    clip = make_clip(1, **LARGE)
    grow_from(make_clip(0), clip)
    silent = [not block.attn.out_proj.weight.any() and not block.mlp[-1].weight.any() for block in clip.visual.blocks]
    assert silent == [False, True, True, False, True]
    clip.requires_grad_(True)
    clip.visual(torch.rand(1, 3, 32, 32)).sum().backward()
    assert clip.visual.blocks[1].attn.out_proj.weight.grad.any() and clip.visual.blocks[1].mlp[-1].weight.grad.any()


def test_larger_patches_keep_the_sum_over_a_patch():
    weight = torch.rand(5, 3, 4, 4)
    larger = larger_patches(weight, 3)
    assert larger.shape == (5, 3, 12, 12)
    torch.testing.assert_close(larger.sum(dim=(2, 3)), weight.sum(dim=(2, 3)))


@pytest.mark.parametrize("sizes", [{"image_resolution": 64}, {"patch_size": 16}, {"vision_layers": 1}])
def test_sizes_that_do_not_fit(sizes):
    with pytest.raises(ValueError, match="cannot grow to"):
        grow_from(make_clip(0), make_clip(1, **{**LARGE, **sizes}))
