"""The open-vocabulary instance split of COCO: 48 base categories, 17 novel ones, and both (MaskCLIP, Table 5).

Its annotation files hold the categories and annotations of their subset, and the images that still have any; so
unlabelled novel objects remain in base training images.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from ...categories.lists import category_list
from .common import Record, category_metadata, datasets_root, register_once
from .records import instance_records
from .sources import prepare_command, require_files

SUBSETS = {"base48": "seen48", "novel17": "unseen17", "instances65": "instances65"}
"""Name of a subset -> the customary ending of its files; its categories are the list "coco_" + name."""


def register_coco_split(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register the six datasets of the split; done for the default folder when `registration` is imported.

    Args:
        root: the folder of all datasets; None: `datasets_root()`. It need not exist yet.
        prefix: what the names begin with: PREFIX + coco_instance_{train,val}_{base48,novel17,instances65}.

    Returns:
        The names.

    Raises:
        ValueError: a name is taken by another folder or dataset.
    """
    root = datasets_root() if root is None else Path(root)
    coco = root / "coco"
    names = []
    for split in ("train", "val"):
        for subset in SUBSETS:
            json_file = coco / "annotations" / split_file(split, subset)
            metadata = {
                "image_root": str(coco / f"{split}2017"),
                "json_file": str(json_file),
                "evaluator_type": "coco",
                "remedy": prepare_command("coco_split", root),
                "image_remedy": f"download COCO 2017's images into {coco}",
                **category_metadata(category_list(f"coco_{subset}")),
            }
            names.append(f"{prefix}coco_instance_{split}_{subset}")
            register_once(names[-1], functools.partial(_load, names[-1], metadata), metadata)
    return names


def split_file(split: str, subset: str) -> str:
    """The customary file of a subset of "train" or "val", below COCO's folder of annotations."""
    return f"ov_split_48_17/instances_{split}2017_{SUBSETS[subset]}.json"


def _load(name: str, metadata: dict[str, Any]) -> list[Record]:
    require_files(name, metadata, [metadata["json_file"]])
    return instance_records(metadata["json_file"], metadata)
