"""ADE20K-150 (SceneParse150): semantic labels from 0, COCO-style instances, and panoptic pngs derived from both."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...categories import load_categories
from ...categories.lists import category_list
from ...coco_masks import bbox_xywh, run_length
from ...files import save_image, save_json
from ...image_files import image_size
from ..label_maps import IGNORE_LABEL, LabelledImage, id2rgb, read_colors, read_label_map, rgb2id
from ..registration.ade20k import FOLDERS, SPLITS
from .labels import lookup_table, save_labels, translated
from .steps import Plan, Step, paired_stems

_NUM_CATEGORIES = 150
_NO_INSTANCE = 0
_ID_STEP = 7  # increment until a segment id is free: a barely visible step in red
_NUM_IDS = 256**3
_DOWNLOAD = "download ADEChallengeData2016.zip (SceneParse150) and unpack it"
_DOWNLOAD_INSTANCES = "download annotations_instance.tar of the instance challenge and unpack it there"


def steps(root: Path) -> list[Step]:
    """Return the steps of the kinds semantic, instance and panoptic; datasets/README.md lists their files."""
    folder = root / FOLDERS[0]
    result = []
    for split, split_folder in SPLITS.items():
        images, annotations = folder / "images" / split_folder, folder / "annotations" / split_folder
        instances = folder / "annotations_instance" / split_folder
        semantic = {images: _DOWNLOAD, annotations: _DOWNLOAD}
        instance = {images: _DOWNLOAD, instances: _DOWNLOAD_INSTANCES}
        panoptic = f"ade20k_panoptic_{split}"
        for kind, outputs, inputs in (
            ("semantic", (f"annotations_detectron2/{split_folder}",), semantic),
            ("instance", (f"ade20k_instance_{split}.json",), instance),
            ("panoptic", (panoptic, f"{panoptic}.json"), {**semantic, **instance}),
        ):
            plan = partial(_PLANS[kind], folder, split)
            result.append(Step(kind, split, folder, outputs, inputs, plan))
    return result


def _plan_semantic(folder: Path, split: str) -> Plan:
    split_folder = SPLITS[split]
    labels = folder / "annotations" / split_folder
    items = paired_stems(folder / "images" / split_folder, ".jpg", labels, ".png")
    return Plan(items, partial(_write_semantic, labels, folder / "annotations_detectron2" / split_folder))


def _write_semantic(source: Path, output: Path, stem: str) -> None:
    save_labels(output / f"{stem}.png", _semantic(source / f"{stem}.png"))


def _semantic(path: Path, image: LabelledImage | None = None) -> np.ndarray:
    """Return labels (H, W) 0..149; 255 for SceneParse150's 0 = other."""
    table = lookup_table({raw: raw - 1 for raw in range(1, _NUM_CATEGORIES + 1)}, _NUM_CATEGORIES, IGNORE_LABEL)
    return translated(read_label_map(path, "Annotations", image), table, path)


def _plan_instance(folder: Path, split: str) -> Plan:
    split_folder = SPLITS[split]
    stems = paired_stems(
        folder / "images" / split_folder, ".jpg", folder / "annotations_instance" / split_folder, ".png"
    )
    return Plan(
        stems,
        partial(_instances_of_image, folder, split_folder),
        partial(_write_instances, folder / f"ade20k_instance_{split}.json"),
    )


def _instances_of_image(folder: Path, split_folder: str, stem: str) -> dict[str, Any]:
    """Return the image entry and the annotations of an image, without annotation ids."""
    annotations = [
        {
            "image_id": stem,
            "category_id": category_id,
            "iscrowd": 0,
            "bbox": bbox_xywh(mask),
            "area": int(mask.sum()),
            "segmentation": run_length(mask),
        }
        for category_id, mask in _instances(folder, split_folder, stem)
    ]
    return {"image": _image_entry(folder / "images" / split_folder, stem), "annotations": annotations}


def _instances(folder: Path, split_folder: str, stem: str) -> list[tuple[int, np.ndarray]]:
    """Return (category id, mask (H, W)) of each instance: green is the instance number, red the class 1..100."""
    path = folder / "annotations_instance" / split_folder / f"{stem}.png"
    image = LabelledImage.of_file(folder / "images" / split_folder / f"{stem}.jpg")
    colors = read_colors(path, "Instance annotations", image)
    category_of = {row.attributes["instance_id"]: row.id for row in load_categories("ade20k") if row.isthing}
    found = []
    for number in np.unique(colors[..., 1]):
        if number == _NO_INSTANCE:
            continue
        mask = colors[..., 1] == number
        classes = np.unique(colors[..., 0][mask]).tolist()
        if len(classes) != 1 or classes[0] not in category_of:
            raise ValueError(
                f"{path}: instance {number} has the class {', '.join(map(str, classes))} in its red channel; expected "
                f"one of 1..{len(category_of)}."
            )
        found.append((category_of[classes[0]], mask))
    return found


def _write_instances(path: Path, records: list[dict[str, Any]]) -> None:
    annotations = [annotation for record in records for annotation in record["annotations"]]
    save_json(
        path,
        {
            "images": [record["image"] for record in records],
            "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)],
            "categories": [{"id": category.id, "name": category.name} for category in category_list("ade20k_instance")],
        },
    )


def _plan_panoptic(folder: Path, split: str) -> Plan:
    split_folder = SPLITS[split]
    stems = paired_stems(folder / "images" / split_folder, ".jpg", folder / "annotations" / split_folder, ".png")
    paired_stems(folder / "images" / split_folder, ".jpg", folder / "annotations_instance" / split_folder, ".png")
    return Plan(
        stems,
        partial(_write_panoptic_png, folder, split),
        partial(_write_panoptic, folder / f"ade20k_panoptic_{split}.json"),
    )


def _write_panoptic_png(folder: Path, split: str, stem: str) -> dict[str, Any]:
    """Paint stuff, then instances over it; pixels of things without an instance are void.

    Areas and boxes are those of a segment before others are painted over it. The published evaluation uses these areas,
    so that others would change its metrics.
    """
    split_folder = SPLITS[split]
    path = folder / "annotations" / split_folder / f"{stem}.png"
    semantic = _semantic(path, LabelledImage.of_file(folder / "images" / split_folder / f"{stem}.jpg"))
    categories = load_categories("ade20k")
    color_id = {category.id: int(rgb2id(np.array(category.color))) for category in categories}
    stuff = [category.id for category in categories if not category.isthing]
    painted = [(i, color_id[i], semantic == i) for i in np.unique(semantic).tolist() if i in stuff]
    used = {color_id[i] for i in stuff}
    for category_id, mask in _instances(folder, split_folder, stem):
        segment_id = color_id[category_id]
        while segment_id in used or segment_id == 0:
            segment_id = (segment_id + _ID_STEP) % _NUM_IDS
        used.add(segment_id)
        painted.append((category_id, segment_id, mask))
    segment_ids = np.zeros(semantic.shape, dtype=np.int64)
    infos = []
    for category_id, segment_id, mask in painted:
        segment_ids[mask] = segment_id
        info = {"id": segment_id, "category_id": category_id, "area": int(mask.sum()), "bbox": bbox_xywh(mask)}
        infos.append({**info, "iscrowd": 0})
    save_image(folder / f"ade20k_panoptic_{split}" / f"{stem}.png", id2rgb(segment_ids))
    annotation = {"image_id": stem, "file_name": f"{stem}.png", "segments_info": infos}
    return {"image": _image_entry(folder / "images" / split_folder, stem), "annotation": annotation}


def _write_panoptic(path: Path, records: list[dict[str, Any]]) -> None:
    save_json(
        path,
        {
            "images": [record["image"] for record in records],
            "annotations": [record["annotation"] for record in records],
            "categories": [
                {"id": row.id, "name": row.name, "isthing": int(row.isthing), "color": list(row.color)}
                for row in load_categories("ade20k")
            ],
        },
    )


def _image_entry(images: Path, stem: str) -> dict[str, Any]:
    width, height = image_size(images / f"{stem}.jpg")
    return {"id": stem, "file_name": f"{stem}.jpg", "width": width, "height": height}


_PLANS = {"semantic": _plan_semantic, "instance": _plan_instance, "panoptic": _plan_panoptic}
