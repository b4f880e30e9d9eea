"""ADE20K with its 847 most frequent categories: semantic."""

from __future__ import annotations

import os
from pathlib import Path

from ...categories.lists import category_list
from .ade20k import SPLITS
from .common import datasets_root
from .sources import DirectoryLayout, SemanticSet, prepare_command, register_semantic_sets

FOLDER = "ADE20K_2021_17_01"

IGNORE_LABEL = 65535
"""255 is a category."""

_PUBLISHED_IMAGES = {"train": (25574,), "val": (2000,)}


def register_ade20k_full(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + ade20k_full_sem_seg_{train,val}; arguments, result and errors as in `register_ade20k`."""
    root = datasets_root() if root is None else Path(root)
    is_odise = (root / "ade" / FOLDER).is_dir() and not (root / FOLDER).is_dir()
    missing_hint = prepare_command("ade20k_full", root / "ade" if is_odise else root)
    sets = [
        SemanticSet(
            f"ade20k_full_sem_seg_{split}",
            category_list("ade20k_full"),
            IGNORE_LABEL,
            [
                DirectoryLayout(
                    f"{folder}/{images}/{split_folder}", f"{folder}/annotations_detectron2/{split_folder}", ".tif"
                )
                for folder, images in _image_folders(root)
            ],
            missing_hint,
            _PUBLISHED_IMAGES[split],
        )
        for split, split_folder in SPLITS.items()
    ]
    return register_semantic_sets(root, sets, prefix)


def _image_folders(root: Path) -> list[tuple[str, str]]:
    """(dataset folder, image folder) of Mask2Former and ODISE; SAN's in place of the first if only that exists."""
    mask2former = (FOLDER, "images_detectron2")
    san = (FOLDER, "images")
    is_san = (root / FOLDER / "images" / "validation").is_dir() and not (root / FOLDER / "images_detectron2").is_dir()
    return [san if is_san else mask2former, (f"ade/{FOLDER}", "images_detectron2")]
