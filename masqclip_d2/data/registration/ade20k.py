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
from .sources import Habit, SemanticSet, prepare_command, register_semantic_sets, require_files

FOLDERS = ("ADEChallengeData2016", "ade/ADEChallengeData2016")
"""Where it lies below the folder of all datasets: the one that we write in, then ODISE's."""

SPLITS = {"train": "training", "val": "validation"}
"""Our name of a split -> ADE20K's."""

PUBLISHED_IMAGES = {"train": (20210,), "val": (2000,)}


def register_ade20k(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register ADE20K-150; done for the default folder when `registration` is imported.

    Args:
        root: the folder of all datasets; None: `datasets_root()`. It need not exist yet.
        prefix: what the names begin with: PREFIX + ade20k_{sem_seg,instance,panoptic}_{train,val}.

    Returns:
        The names.

    Raises:
        ValueError: a name is taken by another folder or dataset.
    """
    root = datasets_root() if root is None else Path(root)
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), root / FOLDERS[0])
    semantic = [
        SemanticSet(
            f"ade20k_sem_seg_{split}",
            category_list("ade20k"),
            IGNORE_LABEL,
            [Habit(f"{name}/images/{theirs}", f"{name}/annotations_detectron2/{theirs}") for name in FOLDERS],
            prepare_command("ade20k", folder.parent),
            PUBLISHED_IMAGES[split],
        )
        for split, theirs in SPLITS.items()
    ]
    names = register_semantic_sets(root, semantic, prefix)
    for split, theirs in SPLITS.items():
        shared = {
            "image_root": str(folder / "images" / theirs),
            "json_file": str(folder / f"ade20k_instance_{split}.json"),
            "ignore_label": IGNORE_LABEL,
            "label_divisor": LABEL_DIVISOR,
            "remedy": prepare_command("ade20k", folder.parent),
            "published_images": PUBLISHED_IMAGES[split],
        }
        instance = {
            **shared,
            "tried": _in_both(root, f"ade20k_instance_{split}.json"),
            "evaluator_type": "coco",
            **category_metadata(category_list("ade20k_instance"), with_groups=False),
        }
        names.append(f"{prefix}ade20k_instance_{split}")
        register_once(names[-1], partial(_load_instances, names[-1], instance), instance)
        panoptic = {
            **shared,
            "tried": _in_both(root, f"ade20k_panoptic_{split}.json"),
            "panoptic_json": str(folder / f"ade20k_panoptic_{split}.json"),
            "panoptic_root": str(folder / f"ade20k_panoptic_{split}"),
            "sem_seg_root": str(folder / "annotations_detectron2" / theirs),
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
    return instance_records(metadata["json_file"], metadata)


def _load_panoptic(name: str, metadata: dict[str, Any]) -> list[Record]:
    needed = ("panoptic_json", "panoptic_root", "sem_seg_root", "image_root")
    require_files(name, metadata, [metadata[key] for key in needed])
    return panoptic_records(metadata["panoptic_json"], metadata)
