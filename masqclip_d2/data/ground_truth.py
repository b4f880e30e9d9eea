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
from .images import read_image
from .label_maps import IGNORE_LABEL, id2rgb, read_label_map, rgb2id

_VOID_ID = 0  # COCO panoptic: pixels without a segment


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
        FileNotFoundError, ValueError: the PNG is missing, damaged, or of another size than the image.
    """
    path = record["pan_seg_file_name"]
    colors = read_image(path)
    if colors.shape[:2] != tuple(image_hw):
        raise ValueError(
            f"Panoptic labels {path} are {colors.shape[1]}x{colors.shape[0]} pixels, but their image "
            f"{record.get('file_name')} is {image_hw[1]}x{image_hw[0]} (width x height)."
        )
    # Colors are transformed instead of ids, since bytes are resized without rounding errors.
    colors = transforms.apply_segmentation(colors).astype(np.int32)
    ids = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]  # (H, W)
    segments = [info for info in record["segments_info"] if not info.get("iscrowd", 0) and info["id"] != _VOID_ID]
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
        FileNotFoundError, ValueError: the label map is missing, damaged, of another size than the image, or holds a
            label out of range.
    """
    path = record["sem_seg_file_name"]
    labels = read_label_map(path)
    if labels.shape != tuple(image_hw):
        raise ValueError(
            f"Semantic labels {path} are {labels.shape[1]}x{labels.shape[0]} pixels, but their image "
            f"{record.get('file_name')} is {image_hw[1]}x{image_hw[0]} (width x height)."
        )
    refuse_wrong_labels(labels, num_categories, ignore_label, path)
    known = np.where(labels == ignore_label, _VOID_ID, labels + 1)
    # As colors, like panoptic ids, since bytes are resized without rounding errors.
    shown = rgb2id(transforms.apply_segmentation(id2rgb(known)))  # (H, W)
    present = np.setdiff1d(np.unique(shown), [_VOID_ID])
    return ObjectMasks(shown[None] == present[:, None, None], present - 1)


def refuse_wrong_labels(labels: NDArray[np.int64], num_categories: int, ignore_label: int, path: str) -> set[int]:
    """Categories in a label map; ValueError if a label is neither 0..K-1 nor the ignore label."""
    present = set(np.unique(labels).tolist()) - {ignore_label}
    wrong = sorted(label for label in present if not 0 <= label < num_categories)
    if wrong:
        raise ValueError(
            f"{path} holds the label {', '.join(map(str, wrong[:3]))}, but labels are 0..{num_categories - 1}, and "
            f"{ignore_label} without a category."
        )
    return present


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
