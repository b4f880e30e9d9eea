"""Known directory layouts of a dataset; the first one found on disk is used. Reports missing files with a fix."""

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
class DirectoryLayout:
    """Where the images and label maps of a split lie, below the root of all datasets.

    Args:
        images, labels: folders.
        label_suffix: of the label maps; images have the suffix .jpg.
        list_file: file with the names of the split, if the folders contain more images.
    """

    images: str
    labels: str
    label_suffix: str = ".png"
    list_file: str | None = None


@dataclass(frozen=True)
class SemanticSet:
    """A dataset with semantic labels.

    Args:
        name: without prefix.
        categories: its category table.
        ignore_label: label of pixels without a category.
        layouts: the layout that the preparation writes, followed by those that are only read.
        missing_hint: how to get the files if they are missing.
        published_images: number of images of the published set; several numbers if published lists differ.
    """

    name: str
    categories: tuple[Category, ...]
    ignore_label: int
    layouts: Sequence[DirectoryLayout]
    missing_hint: str
    published_images: tuple[int, ...]


def register_semantic_sets(root: Path, sets: Sequence[SemanticSet], prefix: str) -> list[str]:
    """Register sets under PREFIX + name, each with the first layout found below `root` now; returns the names.

    Raises:
        ValueError: a name is registered for another folder or dataset.
    """
    names = []
    for semantic_set in sets:
        layouts = semantic_set.layouts
        layout = next((candidate for candidate in layouts if (root / candidate.labels).is_dir()), layouts[0])
        metadata = {
            "image_root": str(root / layout.images),
            "image_suffix": ".jpg",
            "sem_seg_root": str(root / layout.labels),
            "label_suffix": layout.label_suffix,
            "evaluator_type": "sem_seg",
            "ignore_label": semantic_set.ignore_label,
            "missing_hint": semantic_set.missing_hint,
            "searched_paths": [str(root / candidate.labels) for candidate in layouts],
            "published_images": semantic_set.published_images,
            **category_metadata(semantic_set.categories, with_groups=False),
        }
        list_file = None if layout.list_file is None else str(root / layout.list_file)
        names.append(prefix + semantic_set.name)
        register_once(names[-1], partial(_load_semantic, names[-1], metadata, list_file), metadata)
    return names


def prepare_command(preparation: str, root: Path) -> str:
    """Return a hint with the command that prepares a dataset."""
    return f"prepare it with: masqclip prepare {preparation} --root {root}"


def require_files(name: str, metadata: dict[str, Any], paths: Sequence[str]) -> None:
    """Raise FileNotFoundError, with a fix, if a path is missing or its preparation was interrupted.

    Args:
        name: of the dataset.
        metadata: `missing_hint`; optionally `searched_paths`, and `missing_images_hint` if images have another source.
        paths: required files and folders.
    """
    for path in map(Path, paths):
        hint = metadata["missing_hint"]
        if str(path) == metadata["image_root"]:
            hint = metadata.get("missing_images_hint", hint)
        if is_unfinished(path):
            raise FileNotFoundError(
                f"Dataset {name!r}: the preparation of {path} was interrupted; "
                f"{hint.replace('prepare it with', 'resume it with')}."
            )
        if not path.exists():
            searched = metadata.get("searched_paths", ())
            others = [other for other in searched if other != str(path)]
            also = f" (nor {', nor '.join(others)})" if others and str(path) in searched else ""
            raise FileNotFoundError(
                f"Dataset {name!r} has no {path}{also}; {hint} (or set DETECTRON2_DATASETS to the folder of your "
                "datasets)."
            )


def _load_semantic(name: str, metadata: dict[str, Any], list_file: str | None) -> list[Record]:
    required = [metadata["sem_seg_root"], metadata["image_root"]]
    require_files(name, metadata, required if list_file is None else [*required, list_file])
    return semantic_records(metadata, list_file)
