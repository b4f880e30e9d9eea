"""Background prompts: proposals and pixels that they win belong to no category, and are listed.

A category is accepted where its probability is at least the share `unknown_threshold` of the sum of its own and that of
the best background prompt; with 0.5 the more probable of the two wins, with 0 a background prompt never wins.

Shape shorthand: Q mask proposals, K categories, N background prompts, J of them that are the best of a proposal, H x W
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .instance import InstancePredictions, boxes_from_masks, instance_inference, measured
from .output_masks import OutputMasks
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
    rejected = []
    areas = prompts[unknown].bincount()
    for prompt in areas.nonzero().flatten().tolist():
        mask = (prompts == prompt) & unknown
        score = min(1.0, float(background[mask].mean()))
        rejected.append(Rejected(prompt, score, int(areas[prompt]), _box(mask)))
    return labels, scores, rejected


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
    columns, column_of = prompts.unique(return_inverse=True)  # (J,), (Q,)
    further = best.new_zeros(len(best), len(columns))
    further.scatter_(1, column_of[:, None], torch.where(unknown, best, 0.0)[:, None])
    known = scores.probs.float().masked_fill(unknown[:, None], 0.0)
    extended = ClassScores(torch.cat([known, further], dim=1), scores.reject_probs)
    further_things = [*is_thing, *[False] * len(columns)]
    ids, segments = panoptic_inference(extended, masks, further_things, object_threshold, overlap_threshold)

    kept: list[dict] = []
    rejected = []
    new_ids = torch.zeros(len(segments) + 1, dtype=torch.int32)
    for segment in segments:
        if segment["category_id"] < num_categories:
            kept.append({**segment, "id": len(kept) + 1})
            new_ids[segment["id"]] = len(kept)
        else:
            prompt = int(columns[segment["category_id"] - num_categories])
            rejected.append(Rejected(prompt, segment["score"], segment["area"], _box(ids == segment["id"])))
    return new_ids.to(ids.device)[ids], kept, rejected


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
    found = instance_inference(
        scores.probs[~unknown], masks.select(~unknown), is_thing, topk, score_threshold, duplicate_iou
    )
    reachable = unknown & (best >= score_threshold)
    mean_probs, areas, boxes = measured(masks.select(reachable))
    values = (best[reachable] * mean_probs).tolist()
    rows = zip(prompts[reachable].tolist(), values, areas.tolist(), boxes.int().tolist(), strict=True)
    rejected = [Rejected(prompt, score, area, tuple(box)) for prompt, score, area, box in rows if area]
    return found, sorted((one for one in rejected if one.score >= score_threshold), key=lambda one: -one.score)


def _rejecting(scores: ClassScores, unknown_threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of each proposal the probability of its best background prompt, the prompt, and whether it wins; all (Q,)."""
    assert scores.background_probs is not None  # the caller's condition
    best, prompts = scores.background_probs.float().max(dim=1)
    return best, prompts, is_unknown(scores.probs.float().amax(dim=1), best, unknown_threshold)


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = boxes_from_masks(mask[None])[0].int().tolist()
    return x1, y1, x2, y2
