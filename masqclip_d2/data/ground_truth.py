"""Ground-truth masks of a record in the frame of the augmented image.

They come from panoptic PNGs, instance annotations or semantic label maps.

Shape shorthand: N objects, H x W pixels of the augmented (also padded) image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coco_masks import from_segmentation
from .label_maps import IGNORE_LABEL, LabelledImage, id2rgb, read_semantic_labels, rgb2id
from .panoptic_labels import VOID, read_panoptic_labels


@dataclass(frozen=True)
class ObjectMasks:
    """Masks (N, H, W) bool with at least one pixel each, and contiguous classes (N,) int64."""

    masks: NDArray[np.bool_]
    classes: NDArray[np.int64]


def panoptic_masks(record: dict[str, Any], image_hw: tuple[int, int], transforms) -> ObjectMasks:
    """Masks of the segments of a record, without crowds.

    Args:
        record: keys pan_seg_file_name and segments_info (id, category_id contiguous, iscrowd).
        image_hw: (height, width) of the image before augmentation.
        transforms: Detectron2's, as applied to the image.

    Raises:
        FileNotFoundError, ValueError: see `panoptic_labels.read_panoptic_labels`.
    """
    image = LabelledImage(image_hw, str(record.get("file_name")))
    labels = read_panoptic_labels(
        record["pan_seg_file_name"], record["segments_info"], image, record.get("ignored_segment_ids", ())
    )
    # Colors are transformed instead of ids, since bytes are resized without rounding errors.
    ids = rgb2id(transforms.apply_segmentation(id2rgb(labels.ids))).astype(np.int32)  # (H, W)
    segments = [info for info in labels.segments if not info.get("iscrowd", 0)]
    masks = ids[None] == np.array([info["id"] for info in segments], dtype=np.int32)[:, None, None]
    return _visible(masks, [info["category_id"] for info in segments])


def instance_masks(record: dict[str, Any], image_hw: tuple[int, int], transforms) -> ObjectMasks:
    """Masks of the annotations of a record (polygons or run-length), without crowds; they may overlap.

    Args:
        record: key annotations (category_id contiguous, segmentation, iscrowd).
        image_hw: (height, width) of the image before augmentation.
        transforms: Detectron2's, as applied to the image.

    Raises:
        ValueError: an annotation has no segmentation, or one that does not fit the image.
    """
    kept = [annotation for annotation in record["annotations"] if not annotation.get("iscrowd", 0)]
    owner = str(record.get("file_name"))
    masks = [from_segmentation(annotation.get("segmentation"), image_hw, owner) for annotation in kept]
    return transformed_masks(masks, [annotation["category_id"] for annotation in kept], image_hw, transforms)


def transformed_masks(
    masks: Sequence[NDArray], classes: Sequence[int], image_hw: tuple[int, ...], transforms
) -> ObjectMasks:
    """Apply the transforms of an image to its masks; those without a pixel left are dropped.

    Args:
        masks: N of (H, W), bool or 0/1 uint8; N may be 0.
        classes: of the masks.
        image_hw: (height, width) of the image before augmentation.
        transforms: Detectron2's, as applied to the image.
    """
    transformed = [transforms.apply_segmentation(mask.astype(np.uint8)) for mask in masks]
    if not transformed:
        height, width = transforms.apply_segmentation(np.zeros(image_hw, dtype=np.uint8)).shape
        return ObjectMasks(np.zeros((0, height, width), dtype=bool), np.zeros(0, dtype=np.int64))
    return _visible(np.stack(transformed) > 0, classes)


def category_masks(
    record: dict[str, Any], image_hw: tuple[int, int], transforms, num_categories: int, ignore_label: int
) -> ObjectMasks:
    """One mask per category in a semantic label map, ascending.

    Args:
        record: key sem_seg_file_name.
        image_hw: (height, width) of the image before augmentation.
        transforms: Detectron2's, as applied to the image; pixels padded with zeros belong to no mask.
        num_categories: K; labels are 0..K-1.
        ignore_label: label of pixels without a category.

    Raises:
        FileNotFoundError, ValueError: see `label_maps.read_semantic_labels`.
    """
    image = LabelledImage(image_hw, str(record.get("file_name")))
    labels = read_semantic_labels(record["sem_seg_file_name"], num_categories, ignore_label, image)
    known = np.where(labels == ignore_label, VOID, labels + 1)
    # As colors, like panoptic ids, since bytes are resized without rounding errors.
    shown = rgb2id(transforms.apply_segmentation(id2rgb(known)))  # (H, W)
    present = np.setdiff1d(np.unique(shown), [VOID])
    return ObjectMasks(shown[None] == present[:, None, None], present - 1)


def semantic_map(objects: ObjectMasks) -> NDArray[np.int64]:
    """(H, W) int64 contiguous classes of panoptic (not overlapping) masks, 255 for pixels without a mask."""
    classes = np.full(objects.masks.shape[1:], IGNORE_LABEL, dtype=np.int64)
    for mask, label in zip(objects.masks, objects.classes, strict=True):
        classes[mask] = label
    return classes


def _visible(masks: NDArray[np.bool_], classes: Sequence[int]) -> ObjectMasks:
    """Drop masks without pixels."""
    kept = masks.any(axis=(1, 2))
    return ObjectMasks(masks[kept], np.array(classes, dtype=np.int64)[kept])
