"""Masks that a box holds -> mask logits of the whole image.

Shape shorthand: Q masks, S side of a mask within its box, H, W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...structures import CERTAIN_LOGIT


def paste_box_masks(mask_probs: Tensor, boxes_xyxy: Tensor, hw: tuple[int, int]) -> Tensor:
    """Lay each mask into its box, bilinearly; nothing is inside a mask beyond its box.

    A pixel belongs to a box if its centre does. Beyond the box the network says nothing about a pixel and the detector
    says "not this object": the logit is -`CERTAIN_LOGIT`, that of a binary mask, and no logit leaves +-`CERTAIN_LOGIT`.
    So the logit is finite, as mask refinement and fusion need, and its sign is that of (pasted probability - 0.5).

    torchvision cuts the masks that Mask R-CNN learns from with RoIAlign in its form without alignment, for which pixel
    i lies at i and not at i + 1/2; masks are laid back by the same rule.

    Args:
        mask_probs: (Q, S, S) float in [0, 1].
        boxes_xyxy: (Q, 4) float in pixels, x2 > x1 and y2 > y1.
        hw: (height, width) of the result in pixels.

    Returns:
        (Q, H, W) float32 logits: 4 bytes a pixel, 427 MB for 100 masks of 800 x 1333 pixels, and little beside it.
    """
    x1, y1, x2, y2 = boxes_xyxy.float().unbind(1)
    rows = _interpolation(y1, y2, hw[0], mask_probs.shape[1])
    columns = _interpolation(x1, x2, hw[1], mask_probs.shape[2])
    # Bilinear interpolation is a product with one matrix per axis, so no grid of sampling points is stored.
    with torch.autocast(mask_probs.device.type, enabled=False):
        pasted = rows @ mask_probs.float() @ columns.transpose(1, 2)  # (Q, H, W)
    return pasted.logit_(eps=1 / (1 + math.exp(CERTAIN_LOGIT)))


def _interpolation(first: Tensor, last: Tensor, length: int, side: int) -> Tensor:
    """Weights (Q, length, side) of the mask's cells at each pixel along one axis; zeros outside [first, last]."""
    pixels = torch.arange(length, device=first.device)
    first, last = first[:, None], last[:, None]
    cells = ((pixels - first) / (last - first) * side - 0.5).clamp(0, side - 1)  # (Q, length)
    weights = (1 - (cells[..., None] - torch.arange(side, device=first.device)).abs()).clamp(min=0)
    inside = (pixels + 0.5 > first) & (pixels + 0.5 < last)
    return weights * inside[..., None]
