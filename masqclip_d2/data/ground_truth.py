"""Ground truth of a record as masks in the frame of the augmented image, from panoptic pngs, instance annotations or
semantic label maps.

Shape shorthand: N objects, H x W pixels of the augmented (also padded) image.
"""

from __future__ import annotations

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
        FileNotFoundError, ValueError: the png is missing, damaged, or of another size than the image.
    """
    path = record["pan_seg_file_name"]
    colors = read_image(path)
    if colors.shape[:2] != tuple(image_hw):
        raise ValueError(
            f"Panoptic labels {path} are {colors.shape[1]}x{colors.shape[0]} pixels, but their image "
            f"{record.get('file_name')} is {image_hw[1]}x{image_hw[0]} (width x height)."
        )
    # The colours are transformed, not the ids: three bytes per pixel take the exact path through any resizing.
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
    masks = [
        transforms.apply_segmentation(from_segmentation(annotation.get("segmentation"), image_hw, owner))
        for annotation in kept
    ]
    if not masks:
        height, width = transforms.apply_segmentation(np.zeros(image_hw, dtype=np.uint8)).shape
        return ObjectMasks(np.zeros((0, height, width), dtype=bool), np.zeros(0, dtype=np.int64))
    return _visible(np.stack(masks) > 0, [annotation["category_id"] for annotation in kept])


def category_masks(
    record: dict[str, Any], image_hw: tuple[int, int], transforms, num_categories: int, ignore_label: int
) -> ObjectMasks:
    """One mask per category that a semantic label map shows, ascending.

    Args:
        record: key sem_seg_file_name.
        image_hw: (height, width) of the image before augmentation.
        transforms: Detectron2's, as applied to the image; what they pad with zeros belongs to no mask.
        num_categories: K; labels are 0..K-1.
        ignore_label: of pixels without a category.

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
    # As colours, like panoptic ids: bytes take the exact path through any resizing.
    shown = rgb2id(transforms.apply_segmentation(id2rgb(known)))  # (H, W)
    present = np.setdiff1d(np.unique(shown), [_VOID_ID])
    return ObjectMasks(shown[None] == present[:, None, None], present - 1)


def refuse_wrong_labels(labels: NDArray[np.int64], num_categories: int, ignore_label: int, path: str) -> set[int]:
    """The categories of a label map; ValueError if it holds a label that is neither 0..K-1 nor the ignore label."""
    present = set(np.unique(labels).tolist()) - {ignore_label}
    wrong = sorted(label for label in present if not 0 <= label < num_categories)
    if wrong:
        raise ValueError(
            f"{path} holds the label {', '.join(map(str, wrong[:3]))}, but labels are 0..{num_categories - 1}, and "
            f"{ignore_label} where there is none."
        )
    return present


def semantic_map(objects: ObjectMasks) -> NDArray[np.int64]:
    """(H, W) int64 contiguous classes of panoptic (not overlapping) masks, 255 where there is none."""
    classes = np.full(objects.masks.shape[1:], IGNORE_LABEL, dtype=np.int64)
    for mask, label in zip(objects.masks, objects.classes, strict=True):
        classes[mask] = label
    return classes


def _visible(masks: NDArray[np.bool_], classes: list[int]) -> ObjectMasks:
    """Drop what cropping left nothing of."""
    kept = masks.any(axis=(1, 2))
    return ObjectMasks(masks[kept], np.array(classes, dtype=np.int64)[kept])
