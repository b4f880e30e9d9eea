"""File formats of results: one module each, with a `ResultFormat` that is listed here.

A format writes files per image, a file of all images, or both. May import `results` and what that may import.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import coco, images, json_file, labelme, panoptic, parquet, yolo
from .result_format import Destination, ResultFormat

FORMATS: dict[str, ResultFormat] = {
    one.name: one
    for one in (
        images.OVERLAY, images.LABELS, json_file.JSON, coco.COCO, coco.COCO_RLE, panoptic.PANOPTIC, yolo.YOLO,
        labelme.LABELME, images.SEGMENTS, parquet.PARQUET,
    )
}  # fmt: skip
"""Name -> format."""

DEFAULT_FORMATS = ("overlay", "labels", "json")

__all__ = ["DEFAULT_FORMATS", "FORMATS", "Destination", "ResultFormat", "find_formats"]


def find_formats(names: str | Iterable[str]) -> list[ResultFormat]:
    """Formats by their names, in this order, each once; a string separates them by commas.

    Raises:
        ValueError: there is no such format, or none is named.
    """
    given = names.split(",") if isinstance(names, str) else list(names)
    chosen = [name.strip() for name in given if name.strip()]
    unknown = [name for name in chosen if name not in FORMATS]
    if unknown or not chosen:
        problem = f"There is no format {unknown[0]!r}" if unknown else "No format is named"
        raise ValueError(f"{problem}; formats are {', '.join(FORMATS)}.")
    return [FORMATS[name] for name in dict.fromkeys(chosen)]
