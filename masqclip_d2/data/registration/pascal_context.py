"""PASCAL-Context with its 59 frequent categories, and with all 459: semantic."""

from __future__ import annotations

import os
from pathlib import Path

from ...categories.lists import category_list
from ..label_maps import IGNORE_LABEL
from .ade20k import SPLITS
from .common import datasets_root
from .sources import DirectoryLayout, SemanticSet, prepare_command, register_semantic_sets

FOLDER = "pascal_ctx_d2"

IGNORE_LABELS = {59: IGNORE_LABEL, 459: 65535}
"""Number of categories -> ignore label; among 459 categories, 255 is one."""

LABEL_SUFFIXES = {59: ".png", 459: ".tif"}

# By `phase` in trainval_merged.json; and in the Detail API and the list of OVSeg and CAT-Seg.
_PUBLISHED_IMAGES = {"train": (4998, 4996), "val": (5105, 5104)}
_SAN_FOLDERS = {59: "pcontext", 459: "pcontext_full"}


def register_pascal_context(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + pascal_context_{59,459}_sem_seg_{train,val}; see `register_ade20k`.

    OVSeg's folder `pc59_val` uses another category order than CAT-Seg's folder of the same name. This order is
    CAT-Seg's; `check_data` detects the other one by comparison with the label maps of 459 categories, if present.
    """
    root = datasets_root() if root is None else Path(root)
    sets = [
        SemanticSet(
            f"pascal_context_{number}_sem_seg_{split}",
            category_list(f"pascal_context_{number}"),
            IGNORE_LABELS[number],
            _layouts(number, split),
            prepare_command("pascal_context", root),
            _PUBLISHED_IMAGES[split],
        )
        for number in IGNORE_LABELS
        for split in SPLITS
    ]
    return register_semantic_sets(root, sets, prefix)


def _layouts(number: int, split: str) -> list[DirectoryLayout]:
    """Layouts of ODISE and FC-CLIP; OVSeg and CAT-Seg; SAN; MasQCLIP."""
    suffix, split_folder, san = LABEL_SUFFIXES[number], SPLITS[split], _SAN_FOLDERS[number]
    voc = "VOCdevkit/VOC2010"
    full = "pascal_context_full"
    return [
        DirectoryLayout(f"{FOLDER}/images/{split_folder}", f"{FOLDER}/annotations_ctx{number}/{split_folder}", suffix),
        DirectoryLayout(f"{voc}/JPEGImages", f"{voc}/annotations_detectron2/pc{number}_{split}", suffix),
        DirectoryLayout(f"{san}/{split}/image", f"{san}/{split}/label", suffix),
        DirectoryLayout(f"{full}/images", f"{full}/labels_{number}", suffix, f"{full}/{split}.txt"),
    ]
