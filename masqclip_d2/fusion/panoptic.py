"""Panoptic inference: every pixel belongs to one segment or to none.

Shape shorthand: Q mask proposals, K categories, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..ops.output_masks import OutputMasks
from ..ops.panoptic_winners import panoptic_winners
from ..transfers import device_constant, is_asynchronous, to_host
from .scores import ClassScores
from .semantic import check_same_queries


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
    if not is_asynchronous(masks.device):  # elsewhere the host would have to wait for the number of kept proposals
        probs, categories, masks, kept = probs[kept], categories[kept], masks.select(kept), kept[kept]
        if len(probs) == 0:
            return nothing, []

    winner, won_areas, areas, mask_areas = panoptic_winners(probs.masked_fill(~kept, -1.0), masks)
    visible = won_areas.double() / mask_areas.clamp_min(1).double() >= overlap_threshold
    areas = areas.masked_fill(~(kept & visible), 0)
    things = device_constant(tuple(map(bool, is_thing)), torch.bool, winner.device)
    ids, members = _segments(probs, categories, areas, things)
    return torch.cat([ids, ids.new_zeros(1)])[winner.long()], _described(*to_host(*members), is_thing=is_thing)


def _segments(probs: Tensor, categories: Tensor, areas: Tensor, things: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Segments of Q' proposals; those of one stuff category are one segment.

    Args:
        probs, categories, areas: (Q',) probability, category and pixels of each proposal; with 0 pixels it makes none.
        things: (K,) bool.

    Returns:
        (Q',) int32 segment id of each proposal, 0: none; and of each proposal that is the first of a segment, (Q',)
        each: whether it is, the segment's largest probability, category, pixels.
    """
    number = len(probs)
    index = torch.arange(number, device=probs.device)
    real = areas > 0
    candidates = torch.where(real, index, number)
    first_of_category = index.new_full(things.shape, number).scatter_reduce(0, categories, candidates, "amin")
    first = torch.where(things[categories], index, first_of_category[categories])
    first = torch.where(real, first, index)  # (Q',) the first proposal of the segment that each belongs to
    is_first = real & (first == index)
    ids = torch.where(real, is_first.cumsum(0)[first], 0).int()
    best = torch.zeros_like(probs).scatter_reduce(0, first, torch.where(real, probs, 0.0), "amax")
    pixels = torch.zeros_like(areas).scatter_add(0, first, areas)
    return ids, (is_first, best, categories, pixels)


def _described(
    is_first: NDArray[np.bool_],
    probs: NDArray[np.float32],
    categories: NDArray[np.int64],
    areas: NDArray[np.int64],
    is_thing: Sequence[bool],
) -> list[dict]:
    """Segments as dicts, from the tensors of `_segments` on the host."""
    rows = zip(probs[is_first].tolist(), categories[is_first].tolist(), areas[is_first].tolist(), strict=True)
    return [
        {"id": number, "category_id": category, "isthing": bool(is_thing[category]), "score": score, "area": area}
        for number, (score, category, area) in enumerate(rows, start=1)
    ]
