"""Class scores and masks of one image -> predictions of each task.

Keys of the result, according to the tasks that are on:
    sem_seg_labels      (height, width) int64, the category with the highest score at each pixel
    sem_seg_confidence  (height, width) float32, score of that category; 0 where no category scores, and outside
                        of all masks if these are given (`MaskProposals.certain`), not predicted
    sem_seg             only with MODEL.MASQCLIP.TEST.CLASS_MAPS: (K, height, width) float32 class scores, whose arg-max
                        are the labels; Detectron2's own SemSegEvaluator reads it
    panoptic_seg        ((height, width) int32 segment ids, list of segments: id, category_id, isthing, score, area)
    instances           Instances: pred_masks (N, height, width) bool, pred_boxes, scores, pred_classes

Shape shorthand: Q mask proposals, K categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..fusion import (
    ClassScores,
    MaskView,
    OutputMasks,
    instance_inference,
    panoptic_inference,
    semantic_labels,
    semantic_scores,
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
    if tasks.semantic:
        view = MaskView(scores.probs, proposals.mask_logits, proposals.padded_hw, proposals.image_hw)
        predictions.update(semantic_predictions([view], output_hw, tasks))
    if not (tasks.panoptic or tasks.instance or proposals.certain):
        return predictions
    masks = OutputMasks(proposals.mask_logits, proposals.padded_hw, proposals.image_hw, output_hw)
    if tasks.semantic and proposals.certain:
        for rows, logits in masks.bands():
            predictions["sem_seg_confidence"][rows] *= (logits > 0).any(dim=0)
    if tasks.panoptic:
        predictions["panoptic_seg"] = panoptic_inference(
            scores, masks, is_thing, tasks.object_threshold, tasks.overlap_threshold
        )
    if tasks.instance:
        predictions["instances"] = _instances(scores.probs, masks, is_thing, tasks)
    return predictions


def semantic_predictions(views: Sequence[MaskView], output_hw: tuple[int, int], tasks: Tasks) -> dict[str, Tensor]:
    """Semantic predictions of one image from one or several views of it, see the module docstring."""
    labels, confidence = semantic_labels(views, output_hw, tasks.resize_masks_first)
    predictions = {"sem_seg_labels": labels, "sem_seg_confidence": confidence}
    if tasks.class_maps:
        predictions["sem_seg"] = semantic_scores(views, output_hw, tasks.resize_masks_first)
    return predictions


def _instances(class_probs: Tensor, masks: OutputMasks, is_thing: Sequence[bool], tasks: Tasks) -> Instances:
    found = instance_inference(class_probs, masks, is_thing, tasks.topk, tasks.score_threshold)
    return Instances(
        masks.output_hw,
        pred_masks=found.masks,
        pred_boxes=Boxes(found.boxes_xyxy),
        scores=found.scores,
        pred_classes=found.classes,
    )
