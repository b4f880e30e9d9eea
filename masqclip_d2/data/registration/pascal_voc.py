"""PASCAL VOC 2012 with its 20 categories, and with background as the 21st: semantic."""

from __future__ import annotations

import os
from pathlib import Path

from ...categories.lists import category_list
from ..label_maps import IGNORE_LABEL
from .ade20k import SPLITS
from .common import datasets_root
from .sources import DirectoryLayout, SemanticSet, prepare_command, register_semantic_sets

FOLDER = "pascal_voc_d2"

_PUBLISHED_IMAGES = {"train": (1464,), "val": (1449,)}


def register_pascal_voc(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + pascal_voc_{20,21}_sem_seg_{train,val}; see `register_ade20k`.

    CAT-Seg's folder `annotations_detectron2_bg` is not used: its background is not VOC's.
    """
    root = datasets_root() if root is None else Path(root)
    sets = [
        SemanticSet(
            f"pascal_voc_{number}_sem_seg_{split}",
            category_list(f"pascal_voc_{number}"),
            IGNORE_LABEL,
            _layouts(number, split),
            prepare_command("pascal_voc", root),
            _PUBLISHED_IMAGES[split],
        )
        for number in (20, 21)
        for split in SPLITS
    ]
    return register_semantic_sets(root, sets, prefix)


def _layouts(number: int, split: str) -> list[DirectoryLayout]:
    """Layout of ODISE and FC-CLIP; for the 20 categories also those of CAT-Seg and SAN."""
    split_folder = SPLITS[split]
    layouts = [
        DirectoryLayout(f"{FOLDER}/images/{split_folder}", f"{FOLDER}/annotations_pascal{number}/{split_folder}")
    ]
    if number == 20:
        for folder in ("VOCdevkit/VOC2012", "VOC2012"):
            layouts.append(
                DirectoryLayout(f"{folder}/images_detectron2/{split}", f"{folder}/annotations_detectron2/{split}")
            )
    return layouts
