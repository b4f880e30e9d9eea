"""One instance result in COCO's format, as other tools write or people edit them, checked before it is evaluated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..coco_masks import UnusableMaskError, bbox_xywh, decoded, from_run_length, run_length, usable_segmentation
from ..data.annotation_files.structure import number, shown

_BOX = ("x", "y", "width", "height")


def checked_result(result: Any, image_hw: tuple[int, int], tasks: Collection[str], where: str) -> dict[str, Any]:
    """The result as pycocotools can evaluate it; polygons become run-length encoding.

    Args:
        result: `image_id`, `category_id`, `score`; `bbox` [x, y, width, height] for the task "bbox", `segmentation` for
            the task "segm"; without a box that of the mask.
        image_hw: (height, width) of its image.
        tasks: "bbox", "segm" or both.
        where: begins the messages.

    Raises:
        ValueError: an entry is missing, no finite number, or no mask of the image.
    """
    required = {"bbox": "bbox", "segm": "segmentation"}
    missing = [key for key in ("score", *(required[task] for task in tasks)) if key not in result]
    if missing == ["bbox"] and "segm" in tasks:  # COCO's results of masks need no boxes
        mask = from_run_length(_run_length(result["segmentation"], image_hw, where)).astype(bool)
        result = {**result, "bbox": bbox_xywh(mask) if mask.any() else [0, 0, 0, 0]}
        missing = []
    if missing:
        raise ValueError(
            f"{where} has no {', '.join(missing)}; results have image_id, category_id, score, bbox and segmentation."
        )
    score = number(result["score"])
    if score is None:
        raise ValueError(f"{where} has the score {shown(result['score'])}; expected a finite number.")
    found = {**result, "score": result["score"] if result["score"] == score else score}
    if "bbox" in tasks:
        box = result["bbox"]
        sides = [side for each in box if (side := number(each)) is not None] if isinstance(box, list) else []
        if len(sides) != len(_BOX) or len(box) != len(_BOX) or min(sides[2:]) < 0:
            raise ValueError(f"{where} has the bbox {shown(box)}; expected [{', '.join(_BOX)}] in pixels.")
        found["bbox"] = box if box == sides else sides
    if "segm" in tasks:
        found["segmentation"] = _run_length(result["segmentation"], image_hw, where)
    return found


def find(table: Mapping[Any, Any], key: Any) -> Any:
    """The value of a key that comes from a file; None if the table lacks it, also if it cannot be a key."""
    return table.get(key) if isinstance(key, (str, int)) and not isinstance(key, bool) else None


def _run_length(segmentation: Any, image_hw: tuple[int, int], where: str) -> Mapping[str, Any]:
    try:
        usable, _ = usable_segmentation(segmentation, image_hw)
    except UnusableMaskError as error:
        raise ValueError(f"{where} has a segmentation that is no mask: {error}; {error.fault.fix}.") from None
    if isinstance(usable, list) or isinstance(usable["counts"], list):
        return run_length(decoded(usable, image_hw).astype(bool))
    return segmentation
