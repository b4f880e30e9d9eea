"""Tight boxes of binary masks.

Shape shorthand: N masks, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def boxes_from_masks(masks: Tensor) -> Tensor:
    """Tight boxes of binary masks.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float32, xyxy in pixels, x2 and y2 one past the last pixel; zeros for an empty mask.
    """
    return boxes_of_occupied(masks.any(dim=2), masks.any(dim=1))


def boxes_of_occupied(rows_occupied: Tensor, columns_occupied: Tensor) -> Tensor:
    """Boxes (N, 4) of `boxes_from_masks` from the occupied rows (N, H) and columns (N, W), bool."""
    sides = []
    for occupied in (columns_occupied, rows_occupied):
        index = torch.arange(occupied.shape[1], device=occupied.device).expand_as(occupied)
        last = (index + 1).masked_fill(~occupied, 0).amax(dim=1)
        first = index.masked_fill(~occupied, occupied.shape[1]).amin(dim=1).minimum(last)
        sides.append((first, last))
    (x1, x2), (y1, y2) = sides
    return torch.stack([x1, y1, x2, y2], dim=1).float()
