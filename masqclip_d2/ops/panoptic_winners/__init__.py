"""Panoptic winners: the mask that wins each pixel, and pixels of each mask, without a map per mask.

Shape shorthand: Q masks, H x W pixels of the output.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..output_masks import OutputMasks
from ..resize_taps import masks_problem
from ..selection import dtype_problem, select_implementation
from .fast import panoptic_winners_torch
from .reference import panoptic_winners_reference

__all__ = ["panoptic_winners", "panoptic_winners_reference"]

MAX_MASKS = 512  # of the kernel, which keeps all masks of a tile of pixels on the chip


def _panoptic_winners_triton(*arguments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from .operator import panoptic_winners_triton

    return panoptic_winners_triton(*arguments)


IMPLEMENTATIONS = {
    "reference": panoptic_winners_reference,
    "torch": panoptic_winners_torch,
    "triton": _panoptic_winners_triton,
}


@torch.no_grad()
def panoptic_winners(
    probs: Tensor, masks: OutputMasks, implementation: str | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The mask with the largest prob_q sigmoid(mask_q) at each pixel; a mask covers pixels with sigmoid >= 0.5.

    Args:
        probs: (Q,) float, at most 1. Masks with a negative one are left out: they win nothing and cover nothing.
        masks: the Q masks.
        implementation: "auto", "reference", "torch" or "triton"; None: MASQCLIP_OPS, see `masqclip_d2.ops.selection`.

    Returns:
        winners: (H, W) int32, the mask that wins the pixel; Q where it does not cover the pixel, or no mask takes part.
            Of equal products, the first mask.
        won_areas, covered_areas, mask_areas: (Q,) int64 pixels that a mask wins; wins and covers; covers.

    Raises:
        ValueError: Q of the arguments disagree, or there is no such implementation.
    """
    if probs.shape != masks.mask_logits.shape[:1]:
        raise ValueError(f"Expected probs (Q,) of {len(masks)} masks, got {tuple(probs.shape)}.")
    unsupported = masks_problem(masks.mask_logits, MAX_MASKS) or dtype_problem(masks.mask_logits)
    compute = select_implementation("panoptic_winners", IMPLEMENTATIONS, masks.device, implementation, unsupported)
    return compute(probs.float(), masks)
