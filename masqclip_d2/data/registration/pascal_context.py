"""PASCAL-Context with its 59 frequent categories, and with all 459; semantic."""

from __future__ import annotations

import os
from pathlib import Path

from ...categories.lists import category_list
from ..label_maps import IGNORE_LABEL
from .ade20k import SPLITS
from .common import datasets_root
from .sources import Habit, SemanticSet, prepare_command, register_semantic_sets

FOLDER = "pascal_ctx_d2"

IGNORE_LABELS = {59: IGNORE_LABEL, 459: 65535}
"""Number of categories -> ignore label; among 459 categories, 255 is one."""

LABEL_ENDINGS = {59: ".png", 459: ".tif"}

# By the `phase` in trainval_merged.json, and as the Detail API and the list of OVSeg and CAT-Seg have it.
_PUBLISHED_IMAGES = {"train": (4998, 4996), "val": (5105, 5104)}
_SAN_FOLDERS = {59: "pcontext", 459: "pcontext_full"}


def register_pascal_context(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + pascal_context_{59,459}_sem_seg_{train,val}; arguments, result and errors as in
    `register_ade20k`.

    OVSeg's folder `pc59_val` has the order of categories of its own, and cannot be told from CAT-Seg's of that name,
    which is in ours; `check_data` compares it with the 459 categories where these lie beside it.
    """
    root = datasets_root() if root is None else Path(root)
    sets = [
        SemanticSet(
            f"pascal_context_{number}_sem_seg_{split}",
            category_list(f"pascal_context_{number}"),
            IGNORE_LABELS[number],
            _habits(number, split),
            prepare_command("pascal_context", root),
            _PUBLISHED_IMAGES[split],
        )
        for number in IGNORE_LABELS
        for split in SPLITS
    ]
    return register_semantic_sets(root, sets, prefix)


def _habits(number: int, split: str) -> list[Habit]:
    """That of ODISE and FC-CLIP, of OVSeg and CAT-Seg, of SAN, of MasQCLIP."""
    ending, theirs, san = LABEL_ENDINGS[number], SPLITS[split], _SAN_FOLDERS[number]
    voc = "VOCdevkit/VOC2010"
    full = "pascal_context_full"
    return [
        Habit(f"{FOLDER}/images/{theirs}", f"{FOLDER}/annotations_ctx{number}/{theirs}", ending),
        Habit(f"{voc}/JPEGImages", f"{voc}/annotations_detectron2/pc{number}_{split}", ending),
        Habit(f"{san}/{split}/image", f"{san}/{split}/label", ending),
        Habit(f"{full}/images", f"{full}/labels_{number}", ending, f"{full}/{split}.txt"),
    ]
