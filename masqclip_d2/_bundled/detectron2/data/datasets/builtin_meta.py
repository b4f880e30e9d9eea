"""Categories of COCO and ADE20K; the tables are in `categories.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_tables = json.loads((Path(__file__).parent / "categories.json").read_text(encoding="utf-8"))

COCO_CATEGORIES: list[dict[str, Any]] = _tables["coco_panoptic"]
"""133 dicts with color (RGB), isthing (0 or 1), id (of the dataset) and name; 80 things, then 53 stuff."""

ADE20K_SEM_SEG_CATEGORIES: tuple[str, ...] = tuple(_tables["ade20k_sem_seg"])
"""150 names, synonyms joined by commas, in the order of labels."""


def _get_builtin_metadata(dataset_name: str) -> dict[str, Any]:
    """Metadata of "coco" (80 things) or "coco_panoptic_standard" (things and stuff in one contiguous space)."""
    things = [category for category in COCO_CATEGORIES if category["isthing"]]
    thing_ids = {category["id"]: index for index, category in enumerate(things)}
    if dataset_name == "coco":
        return {
            "thing_dataset_id_to_contiguous_id": thing_ids,
            "thing_classes": [category["name"] for category in things],
            "thing_colors": [category["color"] for category in things],
        }
    if dataset_name == "coco_panoptic_standard":
        names = [category["name"] for category in COCO_CATEGORIES]
        colors = [category["color"] for category in COCO_CATEGORIES]
        return {
            "thing_classes": names,
            "thing_colors": colors,
            "stuff_classes": names,
            "stuff_colors": colors,
            "thing_dataset_id_to_contiguous_id": thing_ids,
            "stuff_dataset_id_to_contiguous_id": {
                category["id"]: index for index, category in enumerate(COCO_CATEGORIES) if not category["isthing"]
            },
        }
    raise KeyError(f"No builtin metadata for '{dataset_name}'; known: coco, coco_panoptic_standard.")
