"""Shared by all registrations: datasets root, metadata of a category table, registration under a name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...categories import Category, base_novel_groups
from ...files import expand_home

Record = dict[str, Any]

LABEL_DIVISOR = 1000
"""Detectron2's convention for panoptic maps: category * divisor + instance."""


def datasets_root() -> Path:
    """Return the root of all datasets: environment variable DETECTRON2_DATASETS, default `datasets`."""
    return expand_home(os.environ.get("DETECTRON2_DATASETS", "datasets"))


def register_once(name: str, load: Callable[[], list[Record]], metadata: dict[str, Any]) -> None:
    """Register a dataset with its metadata; registering the same folder again under the same name has no effect.

    Raises:
        ValueError: the name is registered for another folder or dataset.
    """
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(**metadata)
        return
    registered = MetadataCatalog.get(name).get("image_root", None)
    if registered != metadata["image_root"]:
        raise ValueError(
            f"Dataset {name!r} is already registered, for {registered}; to register {metadata['image_root']}, use "
            "another prefix."
        )


def category_metadata(categories: tuple[Category, ...], *, with_groups: bool = True) -> dict[str, Any]:
    """Return the metadata that follow from a category table; see the docstring of the package.

    Args:
        categories: rows of a table with contiguous ids 0..K-1; things may be anywhere among them.
        with_groups: whether the dataset belongs to a protocol with base and novel categories.
    """
    things = [category for category in categories if category.isthing]
    return {
        "thing_classes": [category.name for category in things],
        "thing_colors": [list(category.color) for category in things],
        "thing_dataset_id_to_contiguous_id": {category.id: category.contiguous_id for category in things},
        "stuff_classes": [category.name for category in categories],
        "stuff_colors": [list(category.color) for category in categories],
        "stuff_dataset_id_to_contiguous_id": {category.id: category.contiguous_id for category in categories},
        "vocabulary": {
            "names": [category.name for category in categories],
            "is_thing": [category.isthing for category in categories],
            "synonyms": [list(category.synonyms) for category in categories],
            "groups": base_novel_groups(categories) if with_groups else {},
        },
    }
