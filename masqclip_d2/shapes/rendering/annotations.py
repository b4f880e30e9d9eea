"""COCO-style annotations of rendered scenes: panoptic json and png, instances, semantic labels.

Formats: COCO panoptic (id = R + 256 G + 256^2 B, 0 = void), COCO instances with run-length masks, and 8-bit semantic
maps of contiguous ids with 255 = ignore.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...categories import Category, load_categories
from ...coco_masks import bbox_xywh, run_length
from ...data.label_maps import IGNORE_LABEL
from .scene import Scene


def describe_segments(scene: Scene) -> list[dict[str, Any]]:
    """Return COCO's panoptic `segments_info` of a scene, in the order of `scene.segments`."""
    infos, used = [], set()
    for label, segment in enumerate(scene.segments, start=1):
        mask = scene.segment_map == label
        infos.append(
            {
                "id": _segment_id(segment.category, used),
                "category_id": segment.category.id,
                "area": int(mask.sum()),
                "bbox": bbox_xywh(mask),
                "iscrowd": 0,
            }
        )
    return infos


def panoptic_png(scene: Scene, infos: list[dict[str, Any]], base_only: bool) -> NDArray[np.uint8]:
    """Return segment ids as colours, (H, W, 3) uint8. With `base_only`, novel segments are void."""
    ids = np.zeros(len(infos) + 1, dtype=np.uint32)
    for label, (segment, info) in enumerate(zip(scene.segments, infos, strict=True), start=1):
        if not (base_only and segment.category.novel):
            ids[label] = info["id"]
    colors = np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)
    return colors[scene.segment_map]


def semantic_png(scene: Scene, base_only: bool) -> NDArray[np.uint8]:
    """Return contiguous category ids, (H, W) uint8; 255 without label."""
    labels = np.full(len(scene.segments) + 1, IGNORE_LABEL, dtype=np.uint8)
    for label, segment in enumerate(scene.segments, start=1):
        if not (base_only and segment.category.novel):
            labels[label] = segment.category.contiguous_id
    return labels[scene.segment_map]


def instance_masks(scene: Scene) -> list[dict[str, Any] | None]:
    """Return COCO's run-length encoding of each thing, None for stuff, in the order of `scene.segments`."""
    return [
        run_length(scene.segment_map == label) if segment.category.isthing else None
        for label, segment in enumerate(scene.segments, start=1)
    ]


def panoptic_json(records: list[dict[str, Any]], base_only: bool) -> dict[str, Any]:
    """Return a COCO panoptic json from the records of `dataset.py`."""
    kept = _kept_categories(base_only)
    return {
        "images": [record["image"] for record in records],
        "annotations": [
            {
                "image_id": record["image"]["id"],
                "file_name": record["image"]["file_name"],
                "segments_info": [info for info in record["segments"] if info["category_id"] in kept],
            }
            for record in records
        ],
        "categories": _category_rows(with_stuff=True),
    }


def instances_json(records: list[dict[str, Any]], base_only: bool) -> dict[str, Any]:
    """Return a COCO instances json: things only, masks run-length encoded; lists all 36 things, labelled or not."""
    kept = _kept_categories(base_only)
    annotations = []
    for record in records:
        for index, (info, mask) in enumerate(zip(record["segments"], record["masks"], strict=True), start=1):
            if mask is not None and info["category_id"] in kept:
                image_id = record["image"]["id"]
                # An image has at most 14 segments. Ids start above 0, which COCO's evaluation treats as unmatched.
                annotations.append({**info, "id": 100 * image_id + index, "image_id": image_id, "segmentation": mask})
    return {
        "images": [record["image"] for record in records],
        "annotations": annotations,
        "categories": _category_rows(with_stuff=False),
    }


def captions_json(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a COCO captions json, one caption per image."""
    return {
        "images": [record["image"] for record in records],
        "annotations": [
            {"id": record["image"]["id"], "image_id": record["image"]["id"], "caption": record["caption"]}
            for record in records
        ],
    }


def _kept_categories(base_only: bool) -> frozenset[int]:
    return frozenset(category.id for category in load_categories("shapes") if not (base_only and category.novel))


def _category_rows(with_stuff: bool) -> list[dict[str, Any]]:
    return [
        {"id": category.id, "name": category.name, "isthing": int(category.isthing), "color": list(category.color)}
        for category in load_categories("shapes")
        if with_stuff or category.isthing
    ]


def _segment_id(category: Category, used: set[int]) -> int:
    """Return an unused id whose colour in the png is close to the category's colour."""
    red, green, blue = category.color
    segment_id = red + 256 * green + 65536 * blue
    step = 3 if blue < 128 else -3  # a change of blue that stays within a byte for all instances of an image
    while segment_id in used:
        segment_id += 65536 * step
    used.add(segment_id)
    return segment_id
