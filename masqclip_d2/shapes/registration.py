"""Registers the datasets of a Shapes folder; importing this module registers those of the default folder."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..categories.lists import category_list
from ..data.label_maps import IGNORE_LABEL
from ..data.registration.common import LABEL_DIVISOR, Record, category_metadata, datasets_root, register_once
from ..data.registration.image_folders import ImageFolder
from ..data.registration.records import image_fields, instance_records, panoptic_records
from .rendering import DEFAULT_SCALE, WORLD_VERSION, read_manifest

SIDE_LIMITS = (24, 48)  # units; a thing is small up to the square of the first, large from that of the second


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
# Pictures that PictureMapper renders in each pass over a dataset of pictures, by kind.
_NUM_PICTURES = {"closeup": 64, "collage": 10, "canvas": 9, "scene": 3}
_NUM_EASY_PICTURES = {"closeup": 96, "canvas": 8}
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
    scale = _scale(root)
    names = [prefix + name for name in _SHAPES_SETS]
    for name, shapes_set in zip(names, _SHAPES_SETS.values(), strict=True):
        metadata = _shapes_metadata(root, shapes_set, scale)
        register_once(name, functools.partial(_LOADERS[shapes_set.kind], root, metadata), metadata)
    return names


def _scale(root: Path) -> int:
    """Pixels per unit of a folder; of one that does not exist yet: the default."""
    manifest = read_manifest(root) or {"spec": {}}
    return manifest["spec"].get("scale", DEFAULT_SCALE)


def _shapes_metadata(root: Path, shapes_set: _ShapesSet, scale: int) -> dict[str, Any]:
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
        "area_limits": tuple((side * scale) ** 2 for side in SIDE_LIMITS),
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
    return panoptic_records(metadata)


def _load_instances(root: Path, metadata: dict[str, Any]) -> list[Record]:
    """Return one record per image, see `instance_records`."""
    _require_finished(root, metadata["json_file"])
    return instance_records(metadata)


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
    """Check that the folder has this version of the world and is finished.

    Raises:
        ValueError: it has another version, in which other categories are novel.
        FileNotFoundError: it is unfinished or lacks the file; the message has the command to run.
    """
    command = f"masqclip make-shapes --output {root}"
    manifest = read_manifest(root)
    if manifest is not None and manifest["world_version"] != WORLD_VERSION:
        raise ValueError(
            f"The Shapes folder {root} has version {manifest['world_version']} of the world, with other novel "
            f"categories than version {WORLD_VERSION}; delete it and render it again with: {command}"
        )
    if manifest is not None and not manifest["complete"]:
        options = " ".join(_options(manifest["spec"]))
        raise FileNotFoundError(f"The Shapes folder {root} is unfinished; resume it with: {command} {options}")
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Shapes has no {path}; render it with: {command} (or set DETECTRON2_DATASETS to the folder above shapes/)."
        )


def _options(spec: dict[str, Any]) -> Iterator[str]:
    """Command line of make-shapes for a spec."""
    for name, value in spec.items():
        if value is True:
            yield f"--{name}"
        elif value is not False:
            yield f"--{name.replace('_', '-')} {value}"


def _register_pictures(name: str, counts: dict[str, int], easy: bool) -> None:
    """Register the pictures for CLIP, which are rendered while it trains: records {"kind", "easy"} without files."""
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    records = [{"image_id": index, "file_name": "", "kind": kind, "easy": easy} for index, kind in enumerate(kinds)]
    register_once(name, lambda: records, {"image_root": "", "evaluator_type": "masqclip_captions"})


_register_pictures("masqclip_shapes_pictures", _NUM_PICTURES, easy=False)
_register_pictures("masqclip_easy_shapes_pictures", _NUM_EASY_PICTURES, easy=True)
register_shapes()
register_shapes(datasets_root() / "shapes_easy", prefix="masqclip_easy_")  # of configs/shapes/quick
