"""Results as the content of HTTP responses."""

from __future__ import annotations

import json
from collections.abc import Callable

from PIL import Image

from ..files import png_bytes
from ..results import Segmentation

_JSON, _PNG = "application/json", "image/png"


def _coco(result: Segmentation, name: str) -> bytes:
    return _json(result.to_coco(name))


def _coco_rle(result: Segmentation, name: str) -> bytes:
    return _json(result.to_coco(name, polygons=False))


def _all_segments(result: Segmentation, name: str) -> bytes:
    return _json({"image": name, **result.to_dict()})


def _labels(result: Segmentation, name: str) -> bytes:
    return png_bytes(result.label_image())


def _overlay(result: Segmentation, name: str) -> bytes:
    return png_bytes(Image.fromarray(result.draw()))


RESPONSES: dict[str, tuple[str, Callable[[Segmentation, str], bytes]]] = {
    "coco": (_JSON, _coco),
    "coco-rle": (_JSON, _coco_rle),
    "json": (_JSON, _all_segments),
    "labels": (_PNG, _labels),
    "overlay": (_PNG, _overlay),
}
"""Format -> media type, and the function that makes the content of a result and the name of its image."""


def _json(content: dict) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode("utf-8")
