"""LVIS v1 validation: 1,203 categories of instances on COCO's images."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from ...categories.lists import category_list
from .common import Record, category_metadata, datasets_root, register_once
from .records import instance_records
from .sources import require_files

DETECTIONS_PER_IMAGE = 300
"""LVIS's protocol (COCO: 100)."""


def register_lvis(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + lvis_v1_val; see `register_ade20k`.

    Rare categories are novel, as usual in open-vocabulary evaluation.
    """
    root = datasets_root() if root is None else Path(root)
    metadata = {
        "image_root": str(root / "coco"),
        "json_file": str(root / "lvis" / "lvis_v1_val.json"),
        "evaluator_type": "lvis",
        "detections_per_image": DETECTIONS_PER_IMAGE,
        "missing_hint": f"download it from lvisdataset.org into {root / 'lvis'}, and the images of COCO's "
        "train2017 and val2017",
        **category_metadata(category_list("lvis_v1")),
    }
    name = f"{prefix}lvis_v1_val"
    register_once(name, partial(_load, name, metadata), metadata)
    return [name]


def _load(name: str, metadata: dict[str, Any]) -> list[Record]:
    require_files(name, metadata, [metadata["json_file"], metadata["image_root"]])
    return instance_records(metadata)
