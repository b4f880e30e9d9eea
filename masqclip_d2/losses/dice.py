"""Smoothed dice coefficient of pairs of masks; used by matching, distillation and label assignment."""

from __future__ import annotations

from torch import Tensor


def pairwise_dice(masks: Tensor, others: Tensor) -> Tensor:
    """(2 sum(a b) + 1) / (sum(a) + sum(b) + 1) of every pair; two empty masks give 1.

    Args:
        masks: (..., N, X) float in [0, 1], values at X pixels or points.
        others: (..., M, X) float, at the same points.

    Returns:
        (..., N, M) float in (0, 1].
    """
    sizes = masks.sum(-1)[..., :, None] + others.sum(-1)[..., None, :]
    return (2 * (masks @ others.transpose(-1, -2)) + 1) / (sizes + 1)
