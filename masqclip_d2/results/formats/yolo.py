"""YOLO's segmentation labels: a text file per image, and data.yaml with the category names.

A line is `category x1 y1 x2 y2 ...`, relative to the image. The format has neither holes nor parts, so a segment is one
outline in which holes and further parts are joined by bridges; a reader fills holes correctly, and the pixels below
bridges as well. Boundaries run through the outermost pixels, of which OpenCV, with which readers fill them, makes the
same mask.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from ...files import save_text
from ...vocabulary import Vocabulary
from ..polygons import one_outline, pixel_centers
from ..segmentation import Segmentation
from .result_format import Destination, Entries, ResultFormat

_INSIDE = 0.25  # added to the indices of pixels, so that readers get these whether they round or cut off fractions
_MIN_CORNERS = 3  # readers drop or refuse shorter polygons, which lines and single pixels have


def yolo_lines(result: Segmentation, tolerance: float = 0.0) -> list[str]:
    """The lines of a label file, one per segment with a pixel; `tolerance` in pixels as of `polygons.pixel_centers`."""
    height, width = result.image.shape[:2]
    lines = []
    for segment in result.segments:
        parts = pixel_centers(segment.mask, tolerance)
        if not parts:
            continue
        outline = one_outline(parts)
        corners = [outline[index % len(outline)] for index in range(max(len(outline), _MIN_CORNERS))]
        numbers = " ".join(f"{(x + _INSIDE) / width:.6f} {(y + _INSIDE) / height:.6f}" for x, y in corners)
        lines.append(f"{segment.category_id} {numbers}")
    return lines


def _label_path(destination: Destination) -> Path:
    return destination.path(".txt", "yolo/labels/train")


def _write(result: Segmentation, destination: Destination) -> None:
    lines = yolo_lines(result)
    save_text(_label_path(destination), "".join(f"{line}\n" for line in lines))


def _collect(path: Path, vocabulary: Vocabulary, entries: Entries) -> None:
    content = {"train": "images/train", "val": "images/train", "names": dict(enumerate(vocabulary.names))}
    comment = "# Copy or link the images to images/train, beside labels/train.\n"
    save_text(path, comment + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


YOLO = ResultFormat(
    "yolo", "yolo/labels/train/NAME.txt and yolo/data.yaml: YOLO segmentation labels", lambda one: [_label_path(one)],
    _write, ("yolo/data.yaml",), _collect,
)  # fmt: skip
