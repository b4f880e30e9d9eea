"""Panoptic inference: every pixel belongs to one segment or to none.

Shape shorthand: Q mask proposals, K categories, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .output_masks import OutputMasks
from .scores import ClassScores
from .semantic import check_same_queries

_ROUNDING = 1e-5  # by which interpolated logits may exceed those they are interpolated from, and more


def panoptic_inference(
    scores: ClassScores,
    mask_logits: Tensor | OutputMasks,
    is_thing: Sequence[bool],
    object_threshold: float,
    overlap_threshold: float,
) -> tuple[Tensor, list[dict]]:
    """Merge proposals into non-overlapping segments (the rules of MaskFormer, which both papers use).

    1. Each proposal takes its best category; it is kept if the probability is above `object_threshold` and not below
       its probability to be rejected.
    2. Each pixel goes to the kept proposal with the largest probability * sigmoid(mask).
    3. A proposal, in order, makes a segment of those of its pixels where sigmoid(mask) >= 0.5; none if there is no such
       pixel, or if the pixels it won are less than `overlap_threshold` of its mask (it is mostly hidden by others).
    4. Segments of one stuff category are one segment.

    Args:
        scores: of the Q proposals over the K categories.
        mask_logits: (Q, H, W) float, or `OutputMasks`; only bands of the kept masks are made at output size.
        is_thing: K booleans, one per category.
        object_threshold, overlap_threshold: in [0, 1]; see above.

    Returns:
        segment_ids: (H, W) int32; 0 = no segment, else one of the ids below.
        segments: one dict per segment, ids 1, 2, ... in the order of the proposals: `id`, `category_id` (in [0, K)),
            `isthing` (bool), `score` (probability of its best proposal), `area` (pixels).

    Raises:
        ValueError: shapes disagree with each other or with `is_thing`.
    """
    masks = OutputMasks.of(mask_logits)
    check_same_queries(scores.probs, masks.mask_logits)
    if scores.probs.shape[1] != len(is_thing):
        raise ValueError(f"is_thing has {len(is_thing)} entries, but there are scores of {scores.probs.shape[1]}.")
    nothing = torch.zeros(masks.output_hw, dtype=torch.int32, device=masks.device)
    if scores.probs.numel() == 0:
        return nothing, []
    probs, categories = scores.probs.float().max(dim=1)
    kept = probs > object_threshold
    if scores.reject_probs is not None:
        kept &= probs >= scores.reject_probs.float()
    probs, categories = probs[kept], categories[kept]
    if len(probs) == 0:
        return nothing, []

    winner, won_areas, mask_areas = _winners(probs, masks.select(kept))
    segment_areas = winner.flatten().bincount(minlength=len(probs) + 1).tolist()
    areas = [
        area if area and won / own >= overlap_threshold else 0
        for area, won, own in zip(segment_areas, won_areas.tolist(), mask_areas.tolist(), strict=False)
    ]
    segments, ids = _segments(probs.tolist(), categories.tolist(), areas, is_thing)
    id_of_query = torch.tensor([*ids, 0], dtype=torch.int32, device=winner.device)
    return id_of_query[winner], segments


def _winners(probs: Tensor, masks: OutputMasks) -> tuple[Tensor, Tensor, Tensor]:
    """The winning proposal of each pixel, of Q' kept ones with probabilities `probs`.

    Returns:
        winner: (H, W) int32 index of a proposal; Q' where the winner's own mask does not cover the pixel.
        won_areas, mask_areas: (Q',) int64 pixels that a proposal wins, covered by its mask or not; pixels of its mask.
    """
    winner = torch.empty(masks.output_hw, dtype=torch.int32, device=masks.device)
    won_areas, mask_areas = (torch.zeros(len(probs), dtype=torch.int64, device=masks.device) for _ in range(2))

    def can_win_or_cover(low: Tensor, high: Tensor) -> Tensor:
        """A mask that loses to another in the whole tile, and covers none of it, changes nothing."""
        safe = (probs * low.sigmoid()).max() * (1 - _ROUNDING)
        return (probs * high.sigmoid() >= safe) | (high >= -_ROUNDING)

    for window, index, logits in masks.tiles(can_win_or_cover):
        mask_probs = logits.sigmoid()
        inside = mask_probs >= 0.5
        best = (probs[index, None, None] * mask_probs).argmax(dim=0)  # (rows, columns)
        covered = inside.gather(0, best[None])[0]
        best = index[best]
        won_areas += best.flatten().bincount(minlength=len(probs))
        mask_areas[index] += inside.flatten(1).sum(1)
        winner[window] = torch.where(covered, best, len(probs)).int()
    return winner, won_areas, mask_areas


def _segments(
    probs: Sequence[float], categories: Sequence[int], areas: Sequence[int], is_thing: Sequence[bool]
) -> tuple[list[dict], list[int]]:
    """Segments of kept proposals, and the segment id of each proposal: 0 if its area is 0, which makes no segment."""
    segments: list[dict] = []
    stuff_segments: dict[int, dict] = {}
    ids = [0] * len(probs)
    for query, (score, category, area) in enumerate(zip(probs, categories, areas, strict=True)):
        if area == 0:
            continue
        segment = stuff_segments.get(category)
        if segment is None:
            thing = bool(is_thing[category])
            segment = {"id": len(segments) + 1, "category_id": category, "isthing": thing, "score": score, "area": 0}
            segments.append(segment)
            if not thing:
                stuff_segments[category] = segment
        segment["score"] = max(segment["score"], score)
        segment["area"] += area
        ids[query] = segment["id"]
    return segments, ids
