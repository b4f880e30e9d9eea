"""ADE20K with its 847 most frequent categories, semantic."""

from __future__ import annotations

import os
from pathlib import Path

from ...categories.lists import category_list
from .ade20k import SPLITS
from .common import datasets_root
from .sources import Habit, SemanticSet, prepare_command, register_semantic_sets

FOLDER = "ADE20K_2021_17_01"

IGNORE_LABEL = 65535
"""255 is a category."""

_PUBLISHED_IMAGES = {"train": (25574,), "val": (2000,)}


def register_ade20k_full(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + ade20k_full_sem_seg_{train,val}; arguments, result and errors as in `register_ade20k`."""
    root = datasets_root() if root is None else Path(root)
    is_odises = (root / "ade" / FOLDER).is_dir() and not (root / FOLDER).is_dir()
    remedy = prepare_command("ade20k_full", root / "ade" if is_odises else root)
    sets = [
        SemanticSet(
            f"ade20k_full_sem_seg_{split}",
            category_list("ade20k_full"),
            IGNORE_LABEL,
            [
                Habit(f"{folder}/{images}/{theirs}", f"{folder}/annotations_detectron2/{theirs}", ".tif")
                for folder, images in _image_folders(root)
            ],
            remedy,
            _PUBLISHED_IMAGES[split],
        )
        for split, theirs in SPLITS.items()
    ]
    return register_semantic_sets(root, sets, prefix)


def _image_folders(root: Path) -> list[tuple[str, str]]:
    """(folder of the dataset, its folder of images): Mask2Former's, ODISE's, and SAN's where only that is there."""
    ours = (FOLDER, "images_detectron2")
    sans = (FOLDER, "images")
    is_sans = (root / FOLDER / "images" / "validation").is_dir() and not (root / FOLDER / "images_detectron2").is_dir()
    return [sans if is_sans else ours, (f"ade/{FOLDER}", "images_detectron2")]
