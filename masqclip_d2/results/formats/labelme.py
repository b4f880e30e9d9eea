"""Labelme's JSON files: polygons along the edges of pixels; the parts of a segment share a `group_id`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...files import save_json
from ..polygons import pixel_edges, with_bridges
from ..segmentation import Segmentation
from .result_format import Destination, ResultFormat

_VERSION = "5.4.1"  # of the format


def labelme_dict(result: Segmentation, image_path: str, tolerance: float = 0.0) -> dict[str, Any]:
    """Content of Labelme's file for one image.

    Args:
        result: the segments.
        image_path: of the image, as seen from the JSON file.
        tolerance: of polygons, in pixels, see `polygons.pixel_edges`.
    """
    height, width = result.image.shape[:2]
    shapes = []
    for number, segment in enumerate(result.segments, start=1):
        parts = pixel_edges(segment.mask, tolerance)
        for part in parts:
            shapes.append(
                {
                    "label": segment.label,
                    "points": with_bridges(part).tolist(),
                    "group_id": number if len(parts) > 1 else None,
                    "description": f"score {segment.score:.2f}",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": None,
                }
            )
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _path(destination: Destination) -> Path:
    return destination.path(".json", "labelme")


def _write(result: Segmentation, destination: Destination) -> None:
    save_json(_path(destination), labelme_dict(result, Path(destination.image_name).name), indent=1)


LABELME = ResultFormat(
    "labelme", "labelme/NAME.json: Labelme's files, to be copied beside the images", lambda one: [_path(one)], _write
)
