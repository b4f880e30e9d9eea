"""PNG files: the visualization, the label map with a palette, and one mask per segment."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...files import FAST_PNG, atomic_folder, save_image
from ..segmentation import Segmentation
from .result_format import Destination, ResultFormat

_MAX_LABEL = 40  # characters of a category in the name of a file


def overlay_path(destination: Destination) -> Path:
    """The visualization of a result."""
    return destination.path(destination.overlay_suffix)


def labels_path(destination: Destination) -> Path:
    """The label map of a result."""
    return destination.path("_labels.png")


def _segments_folder(destination: Destination) -> Path:
    return destination.path("_segments")


def _write_overlay(result: Segmentation, destination: Destination) -> None:
    save_image(overlay_path(destination), result.draw(0.0), compress_level=FAST_PNG)


def _write_labels(result: Segmentation, destination: Destination) -> None:
    save_image(labels_path(destination), result.label_image(), compress_level=FAST_PNG)


def _write_segments(result: Segmentation, destination: Destination) -> None:
    """001_dog.png, ...: 255 inside of the segment. The folder replaces an older one when it is complete."""
    with atomic_folder(_segments_folder(destination)) as folder:
        for number, segment in enumerate(result.segments, start=1):
            name = re.sub(r"[^A-Za-z0-9]+", "_", segment.label).strip("_")[:_MAX_LABEL] or "segment"
            save_image(folder / f"{number:03d}_{name}.png", segment.mask.astype(np.uint8) * 255)


OVERLAY = ResultFormat(
    "overlay", "NAME.png: the image with its segments drawn", lambda one: [overlay_path(one)], _write_overlay
)
LABELS = ResultFormat(
    "labels",
    "NAME_labels.png: label map, 0 without a label, 1 for the first category; colors in its palette",
    lambda one: [labels_path(one)],
    _write_labels,
)
SEGMENTS = ResultFormat(
    "segments",
    "NAME_segments/001_dog.png, ...: one black and white mask per segment",
    lambda one: [_segments_folder(one)],
    _write_segments,
)
