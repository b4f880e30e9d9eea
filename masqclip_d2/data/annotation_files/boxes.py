"""Boxes of annotations, compared with their masks; a box that does not fit is replaced by that of the mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...coco_masks import compressed
from .report import listed
from .structure import number

_TOLERANCE = 3.0  # pixels, and a share of the longer side, by which an edge may differ from the mask's
_TOLERANCE_SHARE = 0.05
_MIN_IOU = 0.5  # below, a box is not that of its mask
_SAME_IOU = 0.9  # of corners taken for x, y, width, height

Extent = tuple[float, float, float, float]


class BoxCheck:
    """Corrects boxes of annotations and counts the corrections."""

    def __init__(self) -> None:
        self._corners: list[str] = []
        self._wrong: list[str] = []
        self._example = ""

    def correct(self, annotation: dict[str, Any], extent: Extent, image_hw: tuple[int, int]) -> None:
        """Set `bbox` to four numbers: its own if they fit the mask, else those of the mask.

        Args:
            annotation: `bbox` may be missing.
            extent: (x1, y1, x2, y2) of the mask in pixels; may reach beyond the image.
            image_hw: (height, width) of the image in pixels.
        """
        extent = _clipped(extent, image_hw)
        given = annotation.get("bbox")
        box = _four_numbers(given)
        is_corners = False
        if box is not None and min(box[2:]) > 0:
            x, y, width, height = box
            found = _clipped((x, y, x + width, y + height), image_hw)
            is_near = _is_near(found, extent)
            is_corners = not is_near and _iou(_clipped(box, image_hw), extent) >= _SAME_IOU
            if is_near or (not is_corners and _iou(found, extent) >= _MIN_IOU):
                annotation["bbox"] = given if given == box else box
                return
        x1, y1, x2, y2 = extent
        if given is not None and given != []:
            (self._corners if is_corners else self._wrong).append(str(annotation["id"]))
            self._example = self._example or (
                f"the first has {str(given)[:60]}, its mask [x, y, width, height] = "
                f"[{x1:g}, {y1:g}, {x2 - x1:g}, {y2 - y1:g}]"
            )
        annotation["bbox"] = [x1, y1, x2 - x1, y2 - y1]

    def sentences(self) -> list[str]:
        found = []
        if self._corners:
            found.append(
                "Boxes that look like x1, y1, x2, y2 in place of x, y, width, height, so that those of the masks are "
                f"used: {listed('annotation', self._corners)}."
            )
        if self._wrong:
            found.append(
                "Boxes that do not fit their masks, so that those of the masks are used: "
                f"{listed('annotation', self._wrong)}."
            )
        return [f"{found[0][:-1]}; {self._example}.", *found[1:]] if found else []


def mask_extent(segmentation: list[list[float]] | dict[str, Any], image_hw: tuple[int, int]) -> Extent:
    """(x1, y1, x2, y2) in pixels of a usable segmentation; polygons may reach beyond the image."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, list):
        xs = [polygon[0::2] for polygon in segmentation]
        ys = [polygon[1::2] for polygon in segmentation]
        return min(map(min, xs)), min(map(min, ys)), max(map(max, xs)), max(map(max, ys))
    x, y, width, height = (float(value) for value in coco_mask.toBbox(compressed(segmentation, image_hw)))
    return x, y, x + width, y + height


def _four_numbers(box: Any) -> list[float] | None:
    if not isinstance(box, list):
        return None
    numbers = [found for value in box if (found := number(value)) is not None]
    return numbers if len(numbers) == len(box) == 4 else None


def _clipped(box: Sequence[float], image_hw: tuple[int, int]) -> Extent:
    height, width = image_hw
    x1, y1, x2, y2 = box
    return min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)


def _is_near(box: Extent, other: Extent) -> bool:
    tolerance = _TOLERANCE + _TOLERANCE_SHARE * max(other[2] - other[0], other[3] - other[1])
    return all(abs(value - expected) <= tolerance for value, expected in zip(box, other, strict=True))


def _iou(box: Extent, other: Extent) -> float:
    width = max(min(box[2], other[2]) - max(box[0], other[0]), 0)
    height = max(min(box[3], other[3]) - max(box[1], other[1]), 0)
    areas = [max(x2 - x1, 0) * max(y2 - y1, 0) for x1, y1, x2, y2 in (box, other)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0
