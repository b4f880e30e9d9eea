"""Where a dataset's files lie: of several habits the first whose files are there, and what to do if there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...categories import Category
from ..manifest import is_unfinished
from .common import Record, category_metadata, register_once
from .records import semantic_records


@dataclass(frozen=True)
class Habit:
    """Where one family of projects keeps the images and label maps of a split, below the folder of all datasets.

    Args:
        images, labels: folders.
        label_suffix: of the label maps; images end in .jpg.
        list_file: file with the names of the split, where the folders hold more than it.
    """

    images: str
    labels: str
    label_suffix: str = ".png"
    list_file: str | None = None


@dataclass(frozen=True)
class SemanticSet:
    """A dataset of semantic labels.

    Args:
        name: without prefix.
        categories: its category table.
        ignore_label: of pixels without a category.
        habits: the layout that we write, then those that we only read.
        remedy: what to do if its files are missing.
        published_images: how many images the published set has; several numbers where lists differ.
    """

    name: str
    categories: tuple[Category, ...]
    ignore_label: int
    habits: Sequence[Habit]
    remedy: str
    published_images: tuple[int, ...]


def register_semantic_sets(root: Path, sets: Sequence[SemanticSet], prefix: str) -> list[str]:
    """Register sets under PREFIX + name, each where its labels are below `root` now; returns the names.

    Raises:
        ValueError: a name is taken by another folder or dataset.
    """
    names = []
    for semantic_set in sets:
        habit = next((h for h in semantic_set.habits if (root / h.labels).is_dir()), semantic_set.habits[0])
        metadata = {
            "image_root": str(root / habit.images),
            "image_suffix": ".jpg",
            "sem_seg_root": str(root / habit.labels),
            "label_suffix": habit.label_suffix,
            "evaluator_type": "sem_seg",
            "ignore_label": semantic_set.ignore_label,
            "remedy": semantic_set.remedy,
            "tried": [str(root / h.labels) for h in semantic_set.habits],
            "published_images": semantic_set.published_images,
            **category_metadata(semantic_set.categories, with_groups=False),
        }
        list_file = None if habit.list_file is None else str(root / habit.list_file)
        names.append(prefix + semantic_set.name)
        register_once(names[-1], partial(_load_semantic, names[-1], metadata, list_file), metadata)
    return names


def prepare_command(preparation: str, root: Path) -> str:
    return f"prepare it with: python datasets/prepare_{preparation}.py --root {root}"


def require_files(name: str, metadata: dict[str, Any], paths: Sequence[str]) -> None:
    """Raise FileNotFoundError, in one sentence with what mends it, if a path is missing or its making was broken off.

    Args:
        name: of the dataset.
        metadata: `remedy`; `tried` where other places were looked at; `image_remedy` if images come from elsewhere.
        paths: files and folders that it needs.
    """
    for path in map(Path, paths):
        is_image_root = str(path) == metadata["image_root"]
        remedy = metadata.get("image_remedy", metadata["remedy"]) if is_image_root else metadata["remedy"]
        if is_unfinished(path):
            raise FileNotFoundError(
                f"Dataset {name!r}: {path} is half prepared; {remedy.replace('prepare it with', 'go on with')}."
            )
        if not path.exists():
            others = [other for other in metadata.get("tried", ()) if other != str(path)]
            tried = f" (nor {', nor '.join(others)})" if others and str(path) in metadata["tried"] else ""
            raise FileNotFoundError(
                f"Dataset {name!r} has no {path}{tried}; {remedy} (or set DETECTRON2_DATASETS to the "
                "folder of your datasets)."
            )


def _load_semantic(name: str, metadata: dict[str, Any], list_file: str | None) -> list[Record]:
    needed = [metadata["sem_seg_root"], metadata["image_root"]]
    require_files(name, metadata, needed if list_file is None else [*needed, list_file])
    return semantic_records(metadata, list_file)
