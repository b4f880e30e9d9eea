"""Registers the datasets of a Shapes folder; importing this module registers those of the default folder."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..categories.lists import category_list
from ..data.label_maps import IGNORE_LABEL
from ..data.registration.common import LABEL_DIVISOR, Record, category_metadata, datasets_root, register_once
from ..data.registration.image_folders import ImageFolder
from ..data.registration.records import image_fields, instance_records, panoptic_records
from .rendering import read_manifest

SHAPES_AREA_LIMITS = (24**2, 48**2)  # pixels: things are small up to the first, large from the second


@dataclass(frozen=True)
class _ShapesSet:
    """A dataset of a Shapes folder.

    Args:
        kind: panoptic, instances or captions.
        split: the image folder.
        labels: suffix of the annotation files.
    """

    kind: str
    split: str
    labels: str


_BASE_LABELS = "train_base"
_SHAPES_SETS = {
    "shapes_train": _ShapesSet("panoptic", "train", _BASE_LABELS),
    "shapes_train_all": _ShapesSet("panoptic", "train", "train"),
    "shapes_val": _ShapesSet("panoptic", "val", "val"),
    "shapes_train_instances": _ShapesSet("instances", "train", _BASE_LABELS),
    "shapes_val_instances": _ShapesSet("instances", "val", "val"),
    "shapes_captions": _ShapesSet("captions", "captions_images", "pretrain"),
    "shapes_closeups": _ShapesSet("captions", "closeups_images", "closeups"),
}
# Pictures that PictureMapper renders in each pass over masqclip_shapes_pictures, by kind.
_NUM_PICTURES = {"closeup": 64, "collage": 10, "canvas": 9, "scene": 3}
_EVALUATORS = {"panoptic": "coco_panoptic_seg", "instances": "coco", "captions": "masqclip_captions"}


def register_shapes(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register the datasets of a Shapes folder.

    Names are PREFIX + shapes_train (base categories only), shapes_train_all, shapes_val, shapes_train_instances (base
    categories only), shapes_val_instances, shapes_captions, shapes_closeups. Registering the same folder again under
    the same names has no effect.

    Args:
        root: folder written by make_shapes; None: `shapes` in `datasets_root()`. It need not exist yet.
        prefix: of the names.

    Returns:
        The names.

    Raises:
        ValueError: a name is registered for another folder or dataset.
    """
    root = datasets_root() / "shapes" if root is None else Path(root)
    names = [prefix + name for name in _SHAPES_SETS]
    for name, shapes_set in zip(names, _SHAPES_SETS.values(), strict=True):
        metadata = _shapes_metadata(root, shapes_set)
        register_once(name, functools.partial(_LOADERS[shapes_set.kind], root, metadata), metadata)
    return names


def _shapes_metadata(root: Path, shapes_set: _ShapesSet) -> dict[str, Any]:
    # In training on base labels, novel names must not occur, not even as other categories.
    base = "_base" if shapes_set.labels == _BASE_LABELS else ""
    instances = "_instances" if shapes_set.kind == "instances" else ""
    annotations = root / "annotations"
    metadata = {"image_root": str(root / shapes_set.split), "evaluator_type": _EVALUATORS[shapes_set.kind]}
    if shapes_set.kind == "captions":
        return {**metadata, "json_file": str(annotations / f"captions_{shapes_set.labels}.json")}
    metadata |= category_metadata(category_list(f"shapes{base}{instances}"))
    metadata |= {
        "json_file": str(annotations / f"instances_{shapes_set.labels}.json"),
        "ignore_label": IGNORE_LABEL,
        "label_divisor": LABEL_DIVISOR,
        "area_limits": SHAPES_AREA_LIMITS,
    }
    if shapes_set.kind == "panoptic":
        metadata |= {
            "panoptic_json": str(annotations / f"panoptic_{shapes_set.labels}.json"),
            "panoptic_root": str(annotations / f"panoptic_{shapes_set.labels}"),
        }
    if shapes_set.kind == "panoptic" and shapes_set.labels != _BASE_LABELS:
        # Semantic maps have contiguous ids of all categories, which differ from those of the base categories.
        metadata["sem_seg_root"] = str(root / f"semantic_{shapes_set.labels}")
    return metadata


def _load_panoptic(root: Path, metadata: dict[str, Any]) -> list[Record]:
    """Return one record per image, see `panoptic_records`."""
    _require_finished(root, metadata["panoptic_json"])
    return panoptic_records(metadata["panoptic_json"], metadata)


def _load_instances(root: Path, metadata: dict[str, Any]) -> list[Record]:
    """Return one record per image, see `instance_records`."""
    _require_finished(root, metadata["json_file"])
    return instance_records(metadata["json_file"], metadata)


def _load_captions(root: Path, metadata: dict[str, Any]) -> list[Record]:
    """Return one record per caption: file_name, image_id, height, width, caption."""
    _require_finished(root, metadata["json_file"])
    content = json.loads(Path(metadata["json_file"]).read_text(encoding="utf-8"))
    images = {image["id"]: image for image in content["images"]}
    folder = ImageFolder(metadata["image_root"])
    return [
        {**image_fields(images[annotation["image_id"]], folder), "caption": annotation["caption"]}
        for annotation in content["annotations"]
    ]


_LOADERS: dict[str, Callable[[Path, dict[str, Any]], list[Record]]] = {
    "panoptic": _load_panoptic,
    "instances": _load_instances,
    "captions": _load_captions,
}


def _require_finished(root: Path, path: str) -> None:
    """Raise FileNotFoundError, with the command to run, if the folder is unfinished or lacks the file."""
    command = f"masqclip make-shapes --output {root}"
    manifest = read_manifest(root)
    if manifest is not None and not manifest["complete"]:
        options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in manifest["spec"].items())
        raise FileNotFoundError(f"The Shapes folder {root} is unfinished; resume it with: {command} {options}")
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Shapes has no {path}; render it with: {command} (or set DETECTRON2_DATASETS to the folder above shapes/)."
        )


def _register_pictures() -> None:
    """Register the pictures for CLIP, which are rendered while it trains: records {"kind"} without files."""
    kinds = [kind for kind, count in _NUM_PICTURES.items() for _ in range(count)]
    records = [{"image_id": index, "file_name": "", "kind": kind} for index, kind in enumerate(kinds)]
    register_once(
        "masqclip_shapes_pictures", lambda: records, {"image_root": "", "evaluator_type": "masqclip_captions"}
    )


_register_pictures()
register_shapes()
