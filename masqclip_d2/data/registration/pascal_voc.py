"""PASCAL VOC 2012, semantic: its 20 categories, or these and background."""

from __future__ import annotations

import os
from pathlib import Path

from ...categories.lists import category_list
from ..label_maps import IGNORE_LABEL
from .ade20k import SPLITS
from .common import datasets_root
from .sources import Habit, SemanticSet, prepare_command, register_semantic_sets

FOLDER = "pascal_voc_d2"


_PUBLISHED_IMAGES = {"train": (1464,), "val": (1449,)}


def register_pascal_voc(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + pascal_voc_{20,21}_sem_seg_{train,val}; arguments, result and errors as in `register_ade20k`.

    CAT-Seg's folder `annotations_detectron2_bg` is read by none: its background is no category of VOC.
    """
    root = datasets_root() if root is None else Path(root)
    sets = [
        SemanticSet(
            f"pascal_voc_{number}_sem_seg_{split}",
            category_list(f"pascal_voc_{number}"),
            IGNORE_LABEL,
            _habits(number, split),
            prepare_command("pascal_voc", root),
            _PUBLISHED_IMAGES[split],
        )
        for number in (20, 21)
        for split in SPLITS
    ]
    return register_semantic_sets(root, sets, prefix)


def _habits(number: int, split: str) -> list[Habit]:
    """That of ODISE and FC-CLIP; for the 20 categories that of CAT-Seg and of SAN, too."""
    theirs = SPLITS[split]
    habits = [Habit(f"{FOLDER}/images/{theirs}", f"{FOLDER}/annotations_pascal{number}/{theirs}")]
    if number == 20:
        for folder in ("VOCdevkit/VOC2012", "VOC2012"):
            habits.append(Habit(f"{folder}/images_detectron2/{split}", f"{folder}/annotations_detectron2/{split}"))
    return habits
