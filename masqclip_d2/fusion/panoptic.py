"""Panoptic inference: every pixel belongs to one segment or to none.

Shape shorthand: Q mask proposals, K categories, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .semantic import check_same_queries


def panoptic_inference(
    class_probs: Tensor,
    mask_logits: Tensor,
    is_thing: Sequence[bool],
    object_threshold: float,
    overlap_threshold: float,
) -> tuple[Tensor, list[dict]]:
    """Merge proposals into non-overlapping segments (the rules of MaskFormer, which both papers use).

    1. Each proposal takes its best category; it is kept if the probability is above `object_threshold`.
    2. Each pixel goes to the kept proposal with the largest probability * sigmoid(mask).
    3. A proposal, in order, makes a segment of those of its pixels where sigmoid(mask) >= 0.5; none if there is no such
       pixel, or if the pixels it won are less than `overlap_threshold` of its mask (it is mostly hidden by others).
    4. Segments of one stuff category are one segment.

    Args:
        class_probs: (Q, K) in [0, 1]; or (Q, K + 1) where the last column is the extra class ("other"): proposals whose
            best column is that are discarded.
        mask_logits: (Q, H, W) float.
        is_thing: K booleans, one per category.
        object_threshold, overlap_threshold: in [0, 1]; see above.

    Returns:
        segment_ids: (H, W) int32; 0 = no segment, else one of the ids below.
        segments: one dict per segment, ids 1, 2, ... in the order of the proposals: `id`, `category_id` (in [0, K)),
            `isthing` (bool), `score` (probability of its best proposal), `area` (pixels).

    Raises:
        ValueError: shapes disagree with each other or with `is_thing`.
    """
    check_same_queries(class_probs, mask_logits)
    num_categories = len(is_thing)
    if class_probs.shape[1] not in (num_categories, num_categories + 1):
        raise ValueError(
            f"class_probs has {class_probs.shape[1]} columns; expected {num_categories}, the number of categories in "
            f"is_thing, or {num_categories + 1} with an extra class in the last column."
        )
    segment_ids = torch.zeros(mask_logits.shape[-2:], dtype=torch.int32, device=mask_logits.device)
    if class_probs.numel() == 0:
        return segment_ids, []
    scores, categories = class_probs.float().max(dim=1)
    kept = (scores > object_threshold) & (categories < num_categories)
    scores, categories = scores[kept], categories[kept]
    if len(scores) == 0:
        return segment_ids, []

    mask_probs = mask_logits[kept].float().sigmoid()
    winner = (scores[:, None, None] * mask_probs).argmax(dim=0)  # (H, W) index of a kept proposal
    inside = mask_probs >= 0.5
    won_inside = inside.gather(0, winner[None])[0]  # (H, W): the winner's own mask covers the pixel
    won_areas = winner.flatten().bincount(minlength=len(scores)).tolist()
    mask_areas = inside.flatten(1).sum(1).tolist()
    segment_areas = winner[won_inside].bincount(minlength=len(scores)).tolist()

    segments: list[dict] = []
    stuff_segments: dict[int, dict] = {}
    segment_id_of = [0] * len(scores)
    for query, (score, category) in enumerate(zip(scores.tolist(), categories.tolist(), strict=True)):
        if segment_areas[query] == 0 or won_areas[query] / mask_areas[query] < overlap_threshold:
            continue
        segment = stuff_segments.get(category)
        if segment is None:
            segment = {
                "id": len(segments) + 1,
                "category_id": category,
                "isthing": bool(is_thing[category]),
                "score": score,
                "area": 0,
            }
            segments.append(segment)
            if not segment["isthing"]:
                stuff_segments[category] = segment
        segment["score"] = max(segment["score"], score)
        segment["area"] += segment_areas[query]
        segment_id_of[query] = segment["id"]
    lookup = torch.tensor(segment_id_of, dtype=torch.int32, device=winner.device)
    return torch.where(won_inside, lookup[winner], segment_ids), segments
