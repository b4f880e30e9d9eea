"""The open-vocabulary instance split of COCO: 48 base categories, 17 novel ones, and both (MaskCLIP, Table 5).

Each annotation file has the categories and annotations of its subset, and the images with any of these annotations. So
base training images contain unlabelled novel objects.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from ...categories.lists import category_list
from .common import Record, category_metadata, datasets_root, register_once
from .records import instance_records
from .sources import prepare_command, require_files

SUBSETS = {"base48": "seen48", "novel17": "unseen17", "instances65": "instances65"}
"""Subset -> suffix of its published files; its categories are the list "coco_" + subset."""


def register_coco_split(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + coco_instance_{train,val}_{base48,novel17,instances65}; see `register_ade20k`."""
    root = datasets_root() if root is None else Path(root)
    coco = root / "coco"
    names = []
    for split in ("train", "val"):
        for subset in SUBSETS:
            json_file = coco / "annotations" / split_file(split, subset)
            metadata = {
                "image_root": str(coco / f"{split}2017"),
                "json_file": str(json_file),
                "evaluator_type": "coco",
                "missing_hint": prepare_command("coco_split", root),
                "missing_images_hint": f"download COCO 2017's images into {coco}",
                **category_metadata(category_list(f"coco_{subset}")),
            }
            names.append(f"{prefix}coco_instance_{split}_{subset}")
            register_once(names[-1], functools.partial(_load, names[-1], metadata), metadata)
    return names


def split_file(split: str, subset: str) -> str:
    """Return the annotation file of a subset of "train" or "val", below COCO's folder `annotations`."""
    return f"ov_split_48_17/instances_{split}2017_{SUBSETS[subset]}.json"


def _load(name: str, metadata: dict[str, Any]) -> list[Record]:
    require_files(name, metadata, [metadata["json_file"]])
    return instance_records(metadata)
