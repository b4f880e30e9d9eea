"""Instance inference: a ranked list of (mask, category, score), masks may overlap.

Shape shorthand: Q mask proposals, K categories, N instances, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .semantic import check_same_queries


@dataclass
class InstancePredictions:
    """Instances of one image, best first.

    Args:
        scores: (N,) float32 in [0, 1], decreasing.
        classes: (N,) int64 in [0, K).
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) float32 in pixels, the tight box of the mask; x2 and y2 are one past the last pixel. Zeros
            for an empty mask.
    """

    scores: Tensor
    classes: Tensor
    masks: Tensor
    boxes_xyxy: Tensor

    def __len__(self) -> int:
        return len(self.scores)


def instance_inference(
    class_probs: Tensor, mask_logits: Tensor, is_thing: Sequence[bool] | None = None, topk: int = 100
) -> InstancePredictions:
    """Take the best entries of the proposal x category table (the rules of Mask2Former, which both papers use).

    A proposal can occur several times, with different categories. The score of an instance is its class probability
    times the mean of sigmoid(mask) over its pixels, the pixels with a positive logit.
    Differs from the published code: boxes come from the masks (there they are zeros).

    Args:
        class_probs: (Q, K) in [0, 1].
        mask_logits: (Q, H, W) float.
        is_thing: K booleans: entries of other categories are removed after the top-k (published behaviour when
            panoptic output is on). None keeps all categories.
        topk: number of table entries to take, at least 1.

    Returns:
        `InstancePredictions` with N <= min(topk, Q * K).

    Raises:
        ValueError: shapes disagree with each other or with `is_thing`, or topk < 1.
    """
    check_same_queries(class_probs, mask_logits)
    num_categories = class_probs.shape[1]
    if is_thing is not None and len(is_thing) != num_categories:
        raise ValueError(f"is_thing has {len(is_thing)} entries, but class_probs has {num_categories} columns.")
    if topk < 1:
        raise ValueError(f"topk must be at least 1, got {topk}.")
    table = class_probs.float().flatten()
    entry_scores, entries = table.topk(min(topk, len(table)))
    if is_thing is not None:
        things = torch.tensor(is_thing, dtype=torch.bool, device=entries.device)
        kept = things[entries % num_categories]
        entry_scores, entries = entry_scores[kept], entries[kept]
    queries, classes = entries // max(num_categories, 1), entries % max(num_categories, 1)

    # Mask by mask work is done once per proposal, not once per table entry.
    used, position = queries.unique(return_inverse=True)
    used_logits = mask_logits[used].float()
    masks = used_logits > 0
    scores = entry_scores * _mean_mask_probs(used_logits, masks)[position]
    scores, order = scores.sort(descending=True, stable=True)
    position = position[order]
    return InstancePredictions(scores, classes[order], masks[position], boxes_from_masks(masks)[position])


def boxes_from_masks(masks: Tensor) -> Tensor:
    """Tight boxes of binary masks.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float32, xyxy in pixels, x2 and y2 one past the last pixel; zeros for an empty mask.
    """
    sides = []
    for dim in (1, 2):  # over rows: which columns are occupied; over columns: which rows
        occupied = masks.any(dim=dim)  # (N, W), then (N, H)
        index = torch.arange(occupied.shape[1], device=masks.device).expand_as(occupied)
        last = (index + 1).masked_fill(~occupied, 0).amax(dim=1)
        first = index.masked_fill(~occupied, occupied.shape[1]).amin(dim=1).minimum(last)
        sides.append((first, last))
    (x1, x2), (y1, y2) = sides
    return torch.stack([x1, y1, x2, y2], dim=1).float()


def _mean_mask_probs(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """(N,) mean of sigmoid(logit) over each mask's pixels; 0 for an empty mask (1e-6 is the published guard)."""
    inside = (mask_logits.sigmoid() * masks).flatten(1).sum(1)
    return inside / (masks.flatten(1).sum(1) + 1e-6)
