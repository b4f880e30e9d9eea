"""Detectron2 metadata that evaluators read: required keys, category groups (base, novel), object sizes, limits.

All of it is set when the dataset is registered; nothing depends on parts of a dataset's name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from ..data.panoptic_labels import LeftOut
from ..vocabulary import Vocabulary

logger = logging.getLogger(__name__)

COCO_AREA_LIMITS = (32**2, 96**2)
"""Pixels: in COCO an object is small up to the first, large from the second, medium between."""

COCO_DETECTIONS_PER_IMAGE = 100
"""COCO's evaluation counts so many of the best detections of each image and category."""


def required(metadata: Any, key: str, why: str) -> Any:
    """The value of a metadata key.

    Args:
        metadata: of a dataset.
        key: its name.
        why: what needs it, for the message.

    Raises:
        ValueError: the key is missing or None.
    """
    value = getattr(metadata, key, None)
    if value is None:
        raise ValueError(
            f"Dataset {metadata.name!r} has no metadata {key!r}, which {why} needs; set it when you register the "
            "dataset."
        )
    return value


def category_groups(metadata: Any) -> dict[str, list[int]]:
    """Named groups of contiguous category ids, such as base and novel; {} if the dataset has none.

    These are the groups of the dataset's vocabulary (`Vocabulary.from_metadata`).

    Raises:
        ValueError: the metadata has no categories, or a group has an id that is no category.
    """
    return {name: sorted(ids) for name, ids in Vocabulary.from_metadata(metadata).groups.items()}


def area_limits(metadata: Any) -> tuple[float, float]:
    """(small up to, large from) in pixels: metadata `area_limits`, else COCO's.

    Raises:
        ValueError: not two increasing positive numbers.
    """
    limits = tuple(getattr(metadata, "area_limits", None) or COCO_AREA_LIMITS)
    if len(limits) != 2 or not 0 < limits[0] < limits[1]:
        raise ValueError(
            f"Dataset {metadata.name!r}: metadata 'area_limits' must be two increasing numbers of pixels, got {limits}."
        )
    return limits[0], limits[1]


def area_ranges(limits: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """COCO's area ranges, both ends inclusive: all, small, medium, large."""
    small, large = limits
    return {"all": (0, 1e10), "small": (0, small), "medium": (small, large), "large": (large, 1e10)}


def detections_per_image(metadata: Any) -> int:
    """Number of detections of an image that are counted: metadata `detections_per_image` (LVIS: 300), else COCO's 100.

    Raises:
        ValueError: it is no positive integer.
    """
    limit = getattr(metadata, "detections_per_image", None)
    if limit is None:
        return COCO_DETECTIONS_PER_IMAGE
    if not isinstance(limit, int) or limit < 1:
        raise ValueError(
            f"Dataset {metadata.name!r}: metadata 'detections_per_image' must be a positive integer, got {limit!r}."
        )
    return limit


def require_predictions(dataset_name: str, num_images: int) -> None:
    """Raise ValueError if no image was predicted."""
    if num_images == 0:
        raise ValueError(
            f"Dataset {dataset_name!r}: there are no predictions to evaluate; no image of it was given to the model."
        )


def warn_of_left_out(dataset_name: str, parts: Iterable[LeftOut]) -> None:
    """Log once what all processes together left out of the panoptic ground truth."""
    total = LeftOut()
    for part in parts:
        total.merge(part)
    if sentence := total.sentence():
        logger.warning("%s: %s.", dataset_name, sentence)
