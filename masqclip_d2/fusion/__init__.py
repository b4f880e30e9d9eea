"""Fusion: from masks, object scores and class logits of one image to semantic, instance and panoptic answers.

Pure functions of tensors, one task each; they know no model, no config and no dataset. All of them work with Q = 0
proposals and K = 1 category, on any device, and leave their arguments unchanged.
"""

from .instance import InstancePredictions, boxes_from_masks, instance_inference
from .panoptic import panoptic_inference
from .resize import crop_and_resize, masks_to_output, resize_maps, rows_to_output
from .scores import class_log_scores
from .semantic import MaskView, semantic_inference, semantic_labels, semantic_scores

__all__ = [
    "InstancePredictions",
    "MaskView",
    "boxes_from_masks",
    "class_log_scores",
    "crop_and_resize",
    "instance_inference",
    "masks_to_output",
    "panoptic_inference",
    "resize_maps",
    "rows_to_output",
    "semantic_inference",
    "semantic_labels",
    "semantic_scores",
]
