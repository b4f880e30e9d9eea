"""The open-vocabulary instance split of COCO: 48 base categories, 17 novel ones, and both (MaskCLIP, Table 5).

Its annotation files hold the categories and annotations of their subset, and the images that still have any; so
unlabelled novel objects remain in base training images.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from ..categories import Category, load_categories, renumbered
from .common import Record, category_metadata, datasets_root, register_once

_SUBSETS = {"base48": ("base",), "novel17": ("novel",), "instances65": ("base", "novel")}
_FILE_ENDINGS = {"base48": "seen48", "novel17": "unseen17", "instances65": "instances65"}  # the customary file names


def register_coco_split(root: str | os.PathLike | None = None, prefix: str = "masqclip_") -> list[str]:
    """Register the six datasets of the split; done for the default folder when `registration` is imported.

    Args:
        root: the folder of COCO 2017; None: `coco` in `datasets_root()`. It need not exist yet.
        prefix: what the names begin with: PREFIX + coco_instance_{train,val}_{base48,novel17,instances65}.

    Returns:
        The names.

    Raises:
        ValueError: a name is taken by another folder or dataset.
    """
    root = datasets_root() / "coco" if root is None else Path(root)
    names = []
    for split in ("train", "val"):
        for subset in _SUBSETS:
            json_file = root / "annotations" / "ov_split_48_17" / f"instances_{split}2017_{_FILE_ENDINGS[subset]}.json"
            metadata = {
                "image_root": str(root / f"{split}2017"),
                "json_file": str(json_file),
                "evaluator_type": "coco",
                **category_metadata(split_categories(subset)),
            }
            names.append(f"{prefix}coco_instance_{split}_{subset}")
            register_once(names[-1], functools.partial(_load, names[-1], metadata), metadata)
    return names


def split_categories(subset: str) -> tuple[Category, ...]:
    """The categories of "base48", "novel17" or "instances65", ascending by id, contiguous ids 0..n-1."""
    chosen = [row for row in load_categories("coco") if row.attributes["split"] in _SUBSETS[subset]]
    return renumbered(dataclasses.replace(row, novel=row.attributes["split"] == "novel") for row in chosen)


def _load(name: str, metadata: dict[str, Any]) -> list[Record]:
    """Records of Detectron2's own reader."""
    from detectron2.data.datasets import load_coco_json

    if not os.path.isfile(metadata["json_file"]):
        raise FileNotFoundError(
            f"Dataset {name!r} has no {metadata['json_file']}: COCO's instances file of that year with only the "
            "annotations and categories of this subset, and the images that have any of them left."
        )
    return load_coco_json(metadata["json_file"], metadata["image_root"], name)
