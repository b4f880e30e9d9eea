"""Background prompts: proposals and pixels that they win belong to no category, and are listed.

A category is accepted where its probability is at least the share `unknown_threshold` of the sum of its own and that of
the best background prompt; with 0.5 the more probable of the two wins, with 0 a background prompt never wins.

Shape shorthand: Q mask proposals, K categories, N background prompts, J of them that are the best of a proposal, H x W
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..ops.output_masks import OutputMasks
from ..transfers import is_asynchronous, to_host
from .instance import InstancePredictions, instance_inference, measured
from .label_regions import label_regions
from .panoptic import panoptic_inference
from .scores import ClassScores
from .semantic import MaskView, semantic_labels_and_background


@dataclass(frozen=True)
class Rejected:
    """Pixels that a background prompt won.

    Args:
        prompt: index of the prompt, in [0, N).
        score: of the prompt, as that of a category in the same task.
        area: pixels.
        box_xyxy: tight box in pixels, x2 and y2 one past the last pixel.
    """

    prompt: int
    score: float
    area: int
    box_xyxy: tuple[int, int, int, int]


def is_unknown(category: Tensor, background: Tensor, unknown_threshold: float) -> Tensor:
    """Whether the best background prompt wins against the best category; bool of the shape of both scores."""
    return category * (1 - unknown_threshold) < background * unknown_threshold


def semantic_without_background(
    views: Sequence[MaskView],
    output_hw: tuple[int, int],
    resize_masks_first: bool,
    unknown_threshold: float,
    covered: Tensor | None = None,
) -> tuple[Tensor, Tensor, list[Rejected]]:
    """`semantic_labels` with scores of 0 where a background prompt wins.

    Args:
        views: all with `background_probs`.
        output_hw, resize_masks_first: see `semantic_labels`.
        unknown_threshold: see the module docstring.
        covered: (H, W) bool, pixels outside of which nothing is rejected; None: all.

    Returns:
        (H, W) int64 labels in [0, K), the best category also where it loses; (H, W) float32 scores; what was rejected,
        one entry per prompt, with the mean score of its pixels.
    """
    (labels, scores), (prompts, background) = semantic_labels_and_background(views, output_hw, resize_masks_first)
    unknown = is_unknown(scores, background, unknown_threshold)
    if covered is not None:
        unknown &= covered
    scores.masked_fill_(unknown, 0.0)
    first = views[0].background_probs
    assert first is not None  # checked by `semantic_labels_and_background`
    found = label_regions(prompts, unknown, background, first.shape[1])
    areas, means, boxes = to_host(found.areas, found.mean_scores, found.boxes_xyxy)
    return (
        labels,
        scores,
        [
            Rejected(prompt, min(1.0, float(means[prompt])), int(areas[prompt]), _box(boxes[prompt]))
            for prompt in areas.nonzero()[0].tolist()
        ],
    )


def panoptic_without_background(
    scores: ClassScores,
    masks: Tensor | OutputMasks,
    is_thing: Sequence[bool],
    object_threshold: float,
    overlap_threshold: float,
    unknown_threshold: float,
) -> tuple[Tensor, list[dict], list[Rejected]]:
    """`panoptic_inference` in which background prompts are further stuff, whose segments are then taken away.

    Args:
        scores: with `background_probs`.
        masks, is_thing, object_threshold, overlap_threshold: see `panoptic_inference`.
        unknown_threshold: see the module docstring.

    Returns:
        Segment ids and segments, see `panoptic_inference`; what was rejected, one entry per prompt.
    """
    assert scores.background_probs is not None  # the caller's condition
    num_categories = scores.probs.shape[1]
    best, prompts, unknown = _rejecting(scores, unknown_threshold)
    further = torch.zeros_like(scores.background_probs, dtype=torch.float32)  # (Q, N)
    further.scatter_(1, prompts[:, None], torch.where(unknown, best, 0.0)[:, None])
    known = scores.probs.float().masked_fill(unknown[:, None], 0.0)
    extended = ClassScores(torch.cat([known, further], dim=1), scores.reject_probs)
    further_things = [*is_thing, *[False] * further.shape[1]]
    ids, segments = panoptic_inference(extended, masks, further_things, object_threshold, overlap_threshold)

    kept: list[dict] = []
    losing = [segment for segment in segments if segment["category_id"] >= num_categories]
    new_ids = torch.zeros(len(segments) + 1, dtype=torch.int32)
    for segment in segments:
        if segment["category_id"] < num_categories:
            kept.append({**segment, "id": len(kept) + 1})
            new_ids[segment["id"]] = len(kept)
    if not losing:
        return ids, kept, []
    [boxes] = to_host(label_regions(ids, ids > 0, torch.zeros_like(ids), len(segments) + 1).boxes_xyxy)
    rejected = [
        Rejected(one["category_id"] - num_categories, one["score"], one["area"], _box(boxes[one["id"]]))
        for one in losing
    ]
    return new_ids.to(ids.device, non_blocking=True)[ids.long()], kept, rejected


def instances_without_background(
    scores: ClassScores,
    masks: OutputMasks,
    is_thing: Sequence[bool],
    topk: int,
    score_threshold: float,
    duplicate_iou: float,
    unknown_threshold: float,
) -> tuple[InstancePredictions, list[Rejected]]:
    """`instance_inference` of the proposals that no background prompt wins.

    Args:
        scores: with `background_probs`.
        masks, is_thing, topk, score_threshold, duplicate_iou: see `instance_inference`.
        unknown_threshold: see the module docstring.

    Returns:
        The instances, and what was rejected: one entry per proposal with a score of at least `score_threshold`, best
        first.
    """
    best, prompts, unknown = _rejecting(scores, unknown_threshold)
    accepted = scores.probs.float().masked_fill(unknown[:, None], -1.0)  # a negative probability is never chosen
    found = instance_inference(accepted, masks, is_thing, topk, score_threshold, duplicate_iou)
    reachable = unknown & (best >= score_threshold)
    if not is_asynchronous(masks.device):  # elsewhere the host would have to wait for their number
        best, prompts, masks, reachable = (
            best[reachable],
            prompts[reachable],
            masks.select(reachable),
            reachable[reachable],
        )
    mean_probs, areas, boxes = measured(masks)
    values = to_host(reachable, prompts, best * mean_probs, areas, boxes)
    rejected = [
        Rejected(int(prompt), float(score), int(area), _box(box))
        for losing, prompt, score, area, box in zip(*values, strict=True)
        if losing and area and score >= score_threshold
    ]
    return found, sorted(rejected, key=lambda one: -one.score)


def _rejecting(scores: ClassScores, unknown_threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of each proposal the probability of its best background prompt, the prompt, and whether it wins; all (Q,)."""
    assert scores.background_probs is not None  # the caller's condition
    best, prompts = scores.background_probs.float().max(dim=1)
    return best, prompts, is_unknown(scores.probs.float().amax(dim=1), best, unknown_threshold)


def _box(box_xyxy: NDArray[np.float32]) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box_xyxy.astype(int).tolist()
    return x1, y1, x2, y2
