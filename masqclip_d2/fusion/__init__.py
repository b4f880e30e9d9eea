"""Fusion: masks, object scores and class logits of one image -> semantic, instance and panoptic predictions.

Pure functions of tensors, one task each, independent of model, config and dataset. All of them work with Q = 0
proposals and K = 1 category, on any device, and do not change their arguments.

May import `vocabulary` and everything below it, neither `data` nor `engine`.
"""

from ..ops.output_masks import OutputMasks
from ..ops.resize import crop_and_resize, masks_to_output, resize_maps, rows_to_output
from .background import (
    Rejected,
    instances_without_background,
    panoptic_without_background,
    semantic_without_background,
)
from .boxes import boxes_from_masks
from .instance import InstancePredictions, instance_inference
from .panoptic import panoptic_inference
from .scores import ClassScores, class_log_probs
from .semantic import MaskView, semantic_inference, semantic_labels, semantic_labels_and_background, semantic_scores

__all__ = [
    "ClassScores",
    "InstancePredictions",
    "MaskView",
    "OutputMasks",
    "Rejected",
    "boxes_from_masks",
    "class_log_probs",
    "crop_and_resize",
    "instance_inference",
    "instances_without_background",
    "masks_to_output",
    "panoptic_inference",
    "panoptic_without_background",
    "resize_maps",
    "rows_to_output",
    "semantic_inference",
    "semantic_labels",
    "semantic_labels_and_background",
    "semantic_scores",
    "semantic_without_background",
]
