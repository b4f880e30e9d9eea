"""COCO 2017 panoptic and semantic: 80 thing and 53 stuff categories in one contiguous space."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

from ...categories.lists import category_list
from ..label_maps import IGNORE_LABEL
from .common import LABEL_DIVISOR, Record, category_metadata, datasets_root, register_once
from .records import panoptic_records
from .sources import require_files

PUBLISHED_IMAGES = {"train": (118287,), "val": (5000,)}

logger = logging.getLogger(__name__)


def register_coco_panoptic(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + coco_panoptic_{train,val}; see `register_ade20k`.

    Records have the semantic maps of `prepare_coco` if these exist. Otherwise semantic evaluation derives its labels
    from the panoptic pngs, which are equivalent.
    """
    root = datasets_root() if root is None else Path(root)
    coco = root / "coco"
    names = []
    for split, published in PUBLISHED_IMAGES.items():
        metadata = {
            "image_root": str(coco / f"{split}2017"),
            "panoptic_json": str(coco / "annotations" / f"panoptic_{split}2017.json"),
            "panoptic_root": str(coco / f"panoptic_{split}2017"),
            "sem_seg_root": str(coco / f"panoptic_semseg_{split}2017"),
            "json_file": str(coco / "annotations" / f"instances_{split}2017.json"),
            "evaluator_type": "coco_panoptic_seg",
            "ignore_label": IGNORE_LABEL,
            "label_divisor": LABEL_DIVISOR,
            "missing_hint": f"download COCO 2017's images and its instances and panoptic annotations into {coco}",
            "published_images": published,
            **category_metadata(category_list("coco_panoptic"), with_groups=False),
        }
        names.append(f"{prefix}coco_panoptic_{split}")
        register_once(names[-1], partial(_load, names[-1], metadata), metadata)
    return names


def _load(name: str, metadata: dict[str, Any]) -> list[Record]:
    require_files(name, metadata, [metadata[key] for key in ("panoptic_json", "panoptic_root", "image_root")])
    if not Path(metadata["sem_seg_root"]).is_dir():
        logger.info("%s: no %s; semantic labels are derived from the panoptic pngs.", name, metadata["sem_seg_root"])
        metadata = {key: value for key, value in metadata.items() if key != "sem_seg_root"}
    return panoptic_records(metadata)
