"""Masks that a box holds -> mask logits of the whole image.

Shape shorthand: Q masks, S side of a mask within its box, H, W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...structures import CERTAIN_LOGIT


def paste_box_masks(mask_probs: Tensor, boxes_xyxy: Tensor, hw: tuple[int, int]) -> Tensor:
    """Paste each mask into its box, bilinearly; pixels outside of the box are outside of the mask.

    A pixel belongs to a box if its center does. Logits are clamped to +-`CERTAIN_LOGIT`, and are -`CERTAIN_LOGIT`
    outside of the box. So they are finite, as mask refinement and fusion need, and their sign is that of (pasted
    probability - 0.5).

    torchvision crops the training masks of Mask R-CNN by RoIAlign with aligned=False, which places pixel i at i and not
    at i + 1/2; masks are pasted by the same rule.

    Args:
        mask_probs: (Q, S, S) float in [0, 1].
        boxes_xyxy: (Q, 4) float in pixels, x2 > x1 and y2 > y1.
        hw: (height, width) of the result in pixels.

    Returns:
        (Q, H, W) float32 logits, 427 MB for 100 masks of 800 x 1333 pixels; temporary tensors are small.
    """
    x1, y1, x2, y2 = boxes_xyxy.float().unbind(1)
    rows = _interpolation(y1, y2, hw[0], mask_probs.shape[1])
    columns = _interpolation(x1, x2, hw[1], mask_probs.shape[2])
    # Bilinear interpolation as a product with one matrix per axis, without a grid of sampling points.
    with torch.autocast(mask_probs.device.type, enabled=False):
        pasted = rows @ mask_probs.float() @ columns.transpose(1, 2)  # (Q, H, W)
    return pasted.logit_(eps=1 / (1 + math.exp(CERTAIN_LOGIT)))


def _interpolation(first: Tensor, last: Tensor, length: int, side: int) -> Tensor:
    """Interpolation weights (Q, length, side) along one axis; zeros outside [first, last]."""
    pixels = torch.arange(length, device=first.device)
    first, last = first[:, None], last[:, None]
    cells = ((pixels - first) / (last - first) * side - 0.5).clamp(0, side - 1)  # (Q, length)
    weights = (1 - (cells[..., None] - torch.arange(side, device=first.device)).abs()).clamp(min=0)
    inside = (pixels + 0.5 > first) & (pixels + 0.5 < last)
    return weights * inside[..., None]
