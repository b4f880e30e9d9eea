"""Class scores and masks of one image -> predictions of each task.

Keys of the result, according to the tasks that are on:
    sem_seg_labels      (height, width) int64, the category with the highest score at each pixel
    sem_seg_confidence  (height, width) float32, score of that category; 0 where no category scores, and outside
                        of all masks if these are given (`MaskProposals.certain`), not predicted
    sem_seg             only with MODEL.MASQCLIP.TEST.CLASS_MAPS: (K, height, width) float32 class scores, whose arg-max
                        are the labels; Detectron2's own SemSegEvaluator reads it
    panoptic_seg        ((height, width) int32 segment ids, list of segments: id, category_id, isthing, score, area)
    instances           Instances: pred_masks (N, height, width) bool, pred_boxes, scores, pred_classes
    rejected            only with background prompts: {task: list of `fusion.Rejected`}. What a background prompt wins
                        is in no segment and no instance, and has `sem_seg_confidence` 0

Shape shorthand: Q mask proposals, K categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..fusion import (
    ClassScores,
    InstancePredictions,
    MaskView,
    OutputMasks,
    Rejected,
    instance_inference,
    instances_without_background,
    panoptic_inference,
    panoptic_without_background,
    semantic_labels,
    semantic_scores,
    semantic_without_background,
)
from ..structures import MaskProposals
from .tasks import Tasks


def fuse(
    scores: ClassScores, proposals: MaskProposals, is_thing: Sequence[bool], output_hw: tuple[int, int], tasks: Tasks
) -> dict[str, Any]:
    """Predictions of one image, see the module docstring.

    Args:
        scores: of the Q proposals over the K categories.
        proposals: the Q masks.
        is_thing: K booleans.
        output_hw: (height, width) of the predictions in pixels.
        tasks: which predictions.
    """
    predictions: dict[str, Any] = {}
    rejected: dict[str, list[Rejected]] = {}
    background = scores.background_probs
    masks = OutputMasks(proposals.mask_logits, proposals.padded_hw, proposals.image_hw, output_hw)
    if tasks.semantic:
        sizes = (proposals.padded_hw, proposals.image_hw)
        view = MaskView(scores.probs, proposals.mask_logits, *sizes, background_probs=background)
        covered = _covered(masks) if proposals.certain else None
        predictions.update(semantic_predictions([view], output_hw, tasks, covered))
        rejected.update(predictions.pop("rejected", {}))
    if tasks.panoptic:
        thresholds = (tasks.object_threshold, tasks.overlap_threshold)
        if background is None:
            predictions["panoptic_seg"] = panoptic_inference(scores, masks, is_thing, *thresholds)
        else:
            *segments, rejected["panoptic"] = panoptic_without_background(
                scores, masks, is_thing, *thresholds, tasks.unknown_threshold
            )
            predictions["panoptic_seg"] = tuple(segments)
    if tasks.instance:
        settings = (tasks.topk, tasks.score_threshold, tasks.duplicate_iou)
        if background is None:
            found = instance_inference(scores.probs, masks, is_thing, *settings)
        else:
            found, rejected["instance"] = instances_without_background(
                scores, masks, is_thing, *settings, tasks.unknown_threshold
            )
        predictions["instances"] = _instances(found, output_hw)
    return predictions | ({"rejected": rejected} if background is not None else {})


def semantic_predictions(
    views: Sequence[MaskView], output_hw: tuple[int, int], tasks: Tasks, covered: Tensor | None = None
) -> dict[str, Any]:
    """Semantic predictions of one image from one or several views of it, see the module docstring.

    Args:
        views, output_hw, tasks: see `fuse` and `semantic_labels`.
        covered: (height, width) bool, pixels that can have a category; None: all.
    """
    predictions: dict[str, Any] = {}
    if views[0].background_probs is None:
        labels, confidence = semantic_labels(views, output_hw, tasks.resize_masks_first)
    else:
        labels, confidence, rejected = semantic_without_background(
            views, output_hw, tasks.resize_masks_first, tasks.unknown_threshold, covered
        )
        predictions["rejected"] = {"semantic": rejected}
    if covered is not None:
        confidence *= covered
    predictions |= {"sem_seg_labels": labels, "sem_seg_confidence": confidence}
    if tasks.class_maps:
        predictions["sem_seg"] = semantic_scores(views, output_hw, tasks.resize_masks_first)
    return predictions


def _covered(masks: OutputMasks) -> Tensor:
    """(height, width) bool: in at least one of the masks."""
    covered = torch.zeros(masks.output_hw, dtype=torch.bool, device=masks.device)
    for rows, logits in masks.bands():
        covered[rows] = (logits > 0).any(dim=0)
    return covered


def _instances(found: InstancePredictions, output_hw: tuple[int, int]) -> Instances:
    return Instances(
        output_hw,
        pred_masks=found.masks,
        pred_boxes=Boxes(found.boxes_xyxy),
        scores=found.scores,
        pred_classes=found.classes,
    )
