"""COCO 2017: semantic maps from panoptic pngs, and the files of the open-vocabulary instance split."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ...categories import load_categories
from ...categories.lists import category_list
from ...files import save_json
from ..annotation_files import read_annotations, read_segments
from ..label_maps import IGNORE_LABEL
from ..panoptic_labels import read_panoptic_labels
from ..registration.coco_split import SUBSETS, split_file
from .labels import save_labels
from .steps import Plan, Step


def semantic_steps(root: Path) -> list[Step]:
    """ROOT/coco/panoptic_semseg_{train,val}2017/*.png: contiguous ids 0..132, 255 without segment."""
    coco = root / "coco"
    source = "download COCO 2017's panoptic annotations and unpack the zip files of pngs in them as well"
    return [
        Step(
            kind="semantic",
            split=split,
            folder=coco,
            outputs=(f"panoptic_semseg_{split}2017",),
            inputs={
                coco / "annotations" / f"panoptic_{split}2017.json": source,
                coco / f"panoptic_{split}2017": source,
            },
            plan=partial(_plan_semantic, coco, split),
        )
        for split in ("train", "val")
    ]


def split_steps(root: Path) -> list[Step]:
    """ROOT/coco/annotations/ov_split_48_17/: for train and val, instances of the 48, the 17, and all 65 categories."""
    coco = root / "coco"
    return [
        Step(
            kind="instance",
            split=split,
            folder=coco,
            outputs=tuple(f"annotations/{split_file(split, subset)}" for subset in SUBSETS),
            inputs={
                coco / "annotations" / f"instances_{split}2017.json": "download COCO 2017's train/val annotations",
            },
            plan=partial(_plan_split, coco / "annotations", split),
        )
        for split in ("train", "val")
    ]


def _plan_semantic(coco: Path, split: str) -> Plan:
    path = coco / "annotations" / f"panoptic_{split}2017.json"
    contiguous = {category.id: category.contiguous_id for category in load_categories("coco")}
    items = []
    for annotation in read_segments(path, contiguous).content["annotations"]:
        segments = [
            {"id": info["id"], "category_id": contiguous[info["category_id"]]} for info in annotation["segments_info"]
        ]
        items.append([annotation["file_name"], segments])
    return Plan(items, partial(_write_semantic, coco / f"panoptic_{split}2017", coco / f"panoptic_semseg_{split}2017"))


def _write_semantic(pngs: Path, output: Path, item: list[Any]) -> None:
    file_name, segments = item
    save_labels(output / file_name, read_panoptic_labels(pngs / file_name, segments).categories(IGNORE_LABEL))


def _plan_split(annotations: Path, split: str) -> Plan:
    return Plan(finish=lambda _: _write_subsets(annotations, split))


def _write_subsets(annotations: Path, split: str) -> None:
    """Keep the order and all fields of the published file; drop images without remaining annotations."""
    path = annotations / f"instances_{split}2017.json"
    content = read_annotations(path)
    known = {category.id for category in load_categories("coco") if category.isthing}
    unknown = {annotation["category_id"] for annotation in content["annotations"]} - known
    if unknown:
        raise ValueError(f"{path} has annotations of the category ids {sorted(unknown)[:5]}, which are not COCO's.")
    for subset in SUBSETS:
        kept = {category.id for category in category_list(f"coco_{subset}")}
        kept_annotations = [a for a in content["annotations"] if a["category_id"] in kept]
        kept_images = {annotation["image_id"] for annotation in kept_annotations}
        save_json(
            annotations / split_file(split, subset),
            {
                **{key: content[key] for key in ("info", "licenses") if key in content},
                "images": [image for image in content["images"] if image["id"] in kept_images],
                "annotations": kept_annotations,
                "categories": [category for category in content["categories"] if category["id"] in kept],
            },
        )
