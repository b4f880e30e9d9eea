"""ADE20K with 150 categories (SceneParse150): semantic, instance and panoptic."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from ...categories.lists import category_list
from ..label_maps import IGNORE_LABEL
from .common import LABEL_DIVISOR, Record, category_metadata, datasets_root, register_once
from .records import instance_records, panoptic_records
from .sources import DirectoryLayout, SemanticSet, prepare_command, register_semantic_sets, require_files

FOLDERS = ("ADEChallengeData2016", "ade/ADEChallengeData2016")
"""Folders below the root of all datasets: the one that the preparation writes, and ODISE's."""

SPLITS = {"train": "training", "val": "validation"}
"""Split -> name of the split in ADE20K and the prepared folders."""

PUBLISHED_IMAGES = {"train": (20210,), "val": (2000,)}


def register_ade20k(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register PREFIX + ade20k_{sem_seg,instance,panoptic}_{train,val}.

    Importing `registration` calls this function for the default root.

    Args:
        root: root of all datasets; None: `datasets_root()`. It need not exist yet.
        prefix: of the names.

    Returns:
        The names.

    Raises:
        ValueError: a name is registered for another folder or dataset.
    """
    root = datasets_root() if root is None else Path(root)
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), root / FOLDERS[0])
    semantic = [
        SemanticSet(
            f"ade20k_sem_seg_{split}",
            category_list("ade20k"),
            IGNORE_LABEL,
            [
                DirectoryLayout(f"{name}/images/{split_folder}", f"{name}/annotations_detectron2/{split_folder}")
                for name in FOLDERS
            ],
            prepare_command("ade20k", folder.parent),
            PUBLISHED_IMAGES[split],
        )
        for split, split_folder in SPLITS.items()
    ]
    names = register_semantic_sets(root, semantic, prefix)
    for split, split_folder in SPLITS.items():
        shared = {
            "image_root": str(folder / "images" / split_folder),
            "json_file": str(folder / f"ade20k_instance_{split}.json"),
            "ignore_label": IGNORE_LABEL,
            "label_divisor": LABEL_DIVISOR,
            "missing_hint": prepare_command("ade20k", folder.parent),
            "published_images": PUBLISHED_IMAGES[split],
        }
        instance = {
            **shared,
            "searched_paths": _in_both(root, f"ade20k_instance_{split}.json"),
            "evaluator_type": "coco",
            **category_metadata(category_list("ade20k_instance"), with_groups=False),
        }
        names.append(f"{prefix}ade20k_instance_{split}")
        register_once(names[-1], partial(_load_instances, names[-1], instance), instance)
        panoptic = {
            **shared,
            "searched_paths": _in_both(root, f"ade20k_panoptic_{split}.json"),
            "panoptic_json": str(folder / f"ade20k_panoptic_{split}.json"),
            "panoptic_root": str(folder / f"ade20k_panoptic_{split}"),
            "sem_seg_root": str(folder / "annotations_detectron2" / split_folder),
            "evaluator_type": "ade20k_panoptic_seg",
            **category_metadata(category_list("ade20k"), with_groups=False),
        }
        names.append(f"{prefix}ade20k_panoptic_{split}")
        register_once(names[-1], partial(_load_panoptic, names[-1], panoptic), panoptic)
    return names


def _in_both(root: Path, name: str) -> list[str]:
    return [str(root / folder / name) for folder in FOLDERS]


def _load_instances(name: str, metadata: dict[str, Any]) -> list[Record]:
    require_files(name, metadata, [metadata["json_file"], metadata["image_root"]])
    return instance_records(metadata)


def _load_panoptic(name: str, metadata: dict[str, Any]) -> list[Record]:
    required = ("panoptic_json", "panoptic_root", "sem_seg_root", "image_root")
    require_files(name, metadata, [metadata[key] for key in required])
    return panoptic_records(metadata)
