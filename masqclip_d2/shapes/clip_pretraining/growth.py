"""Starts the training of a CLIP from a smaller one: larger patches on the same grid, more blocks in the vision tower.

A picture at twice the resolution with patches of twice the size is the same grid of tokens; a new block that adds
nothing to its input leaves the outputs alone. So the larger CLIP begins with the knowledge of the smaller one (as in
Chen et al., "Net2Net", ICLR 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...clip import ClipModel, ClipVisionTransformer
from ...clip.vision_transformer import ResidualAttentionBlock


@torch.no_grad()
def grow_from(smaller: ClipModel, clip: ClipModel) -> None:
    """Set all weights of `clip` in place so that it computes what `smaller` does.

    Its pictures then have `factor` times the size, its patches too, and it has as many blocks or more. Blocks of the
    smaller tower are spread evenly; each further block is a copy of the one before it that adds nothing at first.

    Args:
        smaller: the trained CLIP; the same widths, heads, text tower and number of patches.
        clip: the CLIP to train.

    Raises:
        ValueError: the sizes do not fit.
    """
    source, target = smaller.visual, clip.visual
    if not isinstance(source, ClipVisionTransformer) or not isinstance(target, ClipVisionTransformer):
        raise ValueError("Only the vision transformers of OpenAI's CLIP can be grown.")
    factor, rest = divmod(target.patch_size, source.patch_size)
    if rest or target.input_resolution != factor * source.input_resolution or len(target.blocks) < len(source.blocks):
        raise ValueError(
            f"A vision tower of {source.input_resolution} pixels, patches of {source.patch_size} and "
            f"{len(source.blocks)} blocks cannot grow to {target.input_resolution}, {target.patch_size}, "
            f"{len(target.blocks)}: resolution and patches must grow by the same whole factor, blocks may not shrink."
        )
    clip.text.load_state_dict(smaller.text.state_dict())
    clip.log_logit_scale.copy_(smaller.log_logit_scale)
    state = {name: value for name, value in source.state_dict().items() if not name.startswith("transformer.")}
    state["conv1.weight"] = larger_patches(source.conv1.weight, factor)
    target.load_state_dict({**target.state_dict(), **state})
    _grow_blocks(source.blocks, target.blocks)


def larger_patches(weight: Tensor, factor: int) -> Tensor:
    """Patch embedding (D, 3, p, p) for pixels that are `factor` times as small: (D, 3, factor p, factor p)."""
    return weight.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3) / factor**2


def _grow_blocks(source: Sequence[ResidualAttentionBlock], target: Sequence[ResidualAttentionBlock]) -> None:
    """Copy blocks; the first of the target's blocks that stand for the same block of the source is its copy."""
    count, previous = len(source), -1
    for index, block in enumerate(target):
        original = index * count // len(target)
        block.load_state_dict(source[original].state_dict())
        if original == previous:
            last: Any = block.mlp[-1]
            for projection in (block.attn.out_proj, last):
                nn.init.zeros_(projection.weight)
                nn.init.zeros_(projection.bias)
        previous = original
