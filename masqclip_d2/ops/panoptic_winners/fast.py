"""panoptic_winners in plain PyTorch: a band of rows at a time, or on CPUs a tile with the masks that matter there.

Shape shorthand: Q masks, Q' of them in a tile, H x W pixels of the output.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...transfers import is_asynchronous
from ..output_masks import OutputMasks

_ROUNDING = 1e-5  # by which interpolated logits may exceed those they are interpolated from, and more


def panoptic_winners_torch(probs: Tensor, masks: OutputMasks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `panoptic_winners`."""
    winners = torch.full(masks.output_hw, len(probs), dtype=torch.int32, device=masks.device)
    won_areas, mask_areas = (torch.zeros(len(probs), dtype=torch.int64, device=masks.device) for _ in range(2))

    def can_win_or_cover(low: Tensor, high: Tensor) -> Tensor:
        """A mask that loses to another in the whole tile, and covers none of it, changes nothing."""
        safe = (probs * low.sigmoid()).max() * (1 - _ROUNDING)
        return (probs * high.sigmoid() >= safe) | (high >= -_ROUNDING)

    for window, index, logits in masks.tiles(can_win_or_cover) if len(masks) else ():
        mask_probs = logits.sigmoid()
        inside = mask_probs >= 0.5
        best = (probs[index, None, None] * mask_probs).argmax(dim=0)  # (rows, columns)
        covered = inside.gather(0, best[None])[0]
        best = index[best]
        won_areas += label_areas(best, len(probs))
        mask_areas[index] += inside.flatten(1).sum(1)
        winners[window] = torch.where(covered & (probs[best] >= 0), best, len(probs)).int()
    covered_areas = label_areas(winners, len(probs) + 1)[:-1]
    left_out = probs < 0
    return winners, won_areas.masked_fill(left_out, 0), covered_areas, mask_areas.masked_fill(left_out, 0)


def label_areas(labels: Tensor, num_labels: int) -> Tensor:
    """(L,) int64 pixels of each label of a map of integers in [0, L)."""
    if not is_asynchronous(labels.device):
        return labels.flatten().bincount(minlength=num_labels)
    areas = torch.zeros(num_labels, dtype=torch.int64, device=labels.device)  # bincount waits for a GPU
    return areas.scatter_add_(0, labels.flatten().long(), torch.ones_like(labels, dtype=torch.int64).flatten())
