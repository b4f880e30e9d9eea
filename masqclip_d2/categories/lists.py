"""Named category lists: whole category tables and subsets of them, with contiguous ids 0..K-1."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import cache, partial

from . import Category, label_color, load_categories, renumbered


@cache
def category_list(name: str) -> tuple[Category, ...]:
    """Return a list of categories in the order of their contiguous ids.

    Args:
        name: one of `CATEGORY_LISTS`.

    Raises:
        ValueError: unknown list.
    """
    if name not in CATEGORY_LISTS:
        raise ValueError(f"There is no category list {name!r}; known: {', '.join(CATEGORY_LISTS)}.")
    return renumbered(CATEGORY_LISTS[name]())


def _coco_split(*splits: str) -> Iterable[Category]:
    """Things of the open-vocabulary instance split, by the values of their column `split`."""
    rows = (row for row in load_categories("coco") if row.attributes["split"] in splits)
    return [dataclasses.replace(row, novel=row.attributes["split"] == "novel") for row in rows]


def _ade20k_instance() -> Iterable[Category]:
    """The 100 things, with the names of the instance challenge."""
    for row in load_categories("ade20k"):
        if row.isthing:
            name = row.attributes.get("instance_name")
            yield dataclasses.replace(row, name=name, synonyms=(name,)) if name else row


def _pascal_voc_21() -> Iterable[Category]:
    """Background, which is stuff, followed by the 20 categories."""
    background = Category(0, 0, "background", False, label_color(0), False, ("background",))
    return [background, *load_categories("pascal_voc")]


def _lvis_v1() -> Iterable[Category]:
    """All 1,203 categories; rare ones are novel."""
    rows = load_categories("lvis_v1")
    return [dataclasses.replace(row, novel=row.attributes["frequency"] == "r") for row in rows]


def _shapes(things_only: bool = False, base_only: bool = False) -> Iterable[Category]:
    rows = load_categories("shapes")
    return [row for row in rows if (row.isthing or not things_only) and not (row.novel and base_only)]


CATEGORY_LISTS: dict[str, Callable[[], Iterable[Category]]] = {
    "coco_panoptic": partial(load_categories, "coco"),
    "coco_base48": partial(_coco_split, "base"),
    "coco_novel17": partial(_coco_split, "novel"),
    "coco_instances65": partial(_coco_split, "base", "novel"),
    "ade20k": partial(load_categories, "ade20k"),
    "ade20k_instance": _ade20k_instance,
    "ade20k_full": partial(load_categories, "ade20k_full"),
    "pascal_context_59": partial(load_categories, "pascal_context_59"),
    "pascal_context_459": partial(load_categories, "pascal_context_459"),
    "pascal_voc_20": partial(load_categories, "pascal_voc"),
    "pascal_voc_21": _pascal_voc_21,
    "lvis_v1": _lvis_v1,
    "shapes": _shapes,
    "shapes_base": partial(_shapes, base_only=True),
    "shapes_instances": partial(_shapes, things_only=True),
    "shapes_base_instances": partial(_shapes, things_only=True, base_only=True),
}
"""Name of a list -> function that returns its rows."""
