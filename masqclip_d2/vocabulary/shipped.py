"""Shipped vocabularies: every list of categories in three styles, as LIST/STYLE.

| style | prompts of a category | templates | ensemble |
| --- | --- | --- | --- |
| maskclip | its name as registered, "sofa, couch" included | none | first |
| masqclip | its synonyms; natural ones for artificial names of COCO, such as "floor-wood" | none | mean |
| openseg | OpenSeg's synonyms; LVIS' own synonyms; for Shapes the names | vild_14 | max |

The last two, whose names are labels only, have natural names for COCO: "building" for "building-other-merged".

OpenSeg has no list for PASCAL VOC; its categories take their synonyms from Pascal Context's 59.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..categories import Category, base_novel_groups, load_categories
from ..categories.lists import CATEGORY_LISTS, category_list
from .vocabulary import Vocabulary, fold

STYLES = ("maskclip", "masqclip", "openseg")

_ENSEMBLE_OF = {"maskclip": "first", "masqclip": "mean", "openseg": "max"}
_OPENSEG = Path(__file__).parent / "openseg.json"
# List -> category table of its rows and ids. Lists that are not here have no OpenSeg synonyms of their own.
_OPENSEG_TABLES = {
    "coco_panoptic": "coco",
    "coco_base48": "coco",
    "coco_novel17": "coco",
    "coco_instances65": "coco",
    "ade20k": "ade20k",
    "ade20k_instance": "ade20k",
    "ade20k_full": "ade20k_full",
    "pascal_context_59": "pascal_context_59",
    "pascal_context_459": "pascal_context_459",
}


def shipped_names() -> list[str]:
    """Return the names of all shipped vocabularies."""
    return [f"{name}/{style}" for name in CATEGORY_LISTS for style in STYLES]


@cache
def shipped_vocabulary(list_name: str, style: str) -> Vocabulary:
    """Return a list of categories in one style.

    Args:
        list_name: one of `CATEGORY_LISTS`.
        style: one of `STYLES`.
    """
    categories = category_list(list_name)
    if style == "maskclip":
        synonyms = [(row.name,) for row in categories]
    elif style == "masqclip":
        synonyms = [row.synonyms for row in categories]
    else:
        synonyms = _openseg_synonyms(list_name, categories)
    groups = base_novel_groups(categories)
    return Vocabulary(
        tuple(row.name if style == "maskclip" else row.natural_name for row in categories),
        tuple(row.isthing for row in categories),
        tuple(synonyms),
        groups if all(groups.values()) else {},
        templates="vild_14" if style == "openseg" else "name",
        ensemble=_ENSEMBLE_OF[style],
        colors=tuple(row.color for row in categories),
    )


def in_style(vocabulary: Vocabulary, style: str) -> Vocabulary:
    """Return the categories of a vocabulary in another style.

    Args:
        vocabulary: a dataset's own. If its names are those of one of `CATEGORY_LISTS`, the synonyms are that list's,
            whatever the dataset is called.
        style: one of `STYLES`.

    Returns:
        A vocabulary with the same names, things and groups.

    Raises:
        ValueError: the style is "openseg" and no list has these names.
    """
    list_name = _list_with(tuple(map(fold, vocabulary.names)))
    if list_name is not None:
        shipped = shipped_vocabulary(list_name, style)
        return replace(shipped, names=vocabulary.names, is_thing=vocabulary.is_thing, groups=vocabulary.groups)
    if style == "openseg":
        raise ValueError(
            f"There are no OpenSeg names for these {len(vocabulary)} categories ({', '.join(vocabulary.names[:3])}, "
            f"...): they match none of the lists {', '.join(CATEGORY_LISTS)}. Write a vocabulary file."
        )
    if style == "maskclip":
        vocabulary = replace(vocabulary, synonyms=())
    return replace(vocabulary, templates="name", ensemble=_ENSEMBLE_OF[style])


def _openseg_synonyms(list_name: str, categories: tuple[Category, ...]) -> list[tuple[str, ...]]:
    if list_name in _OPENSEG_TABLES:
        synonyms = _openseg_table(_OPENSEG_TABLES[list_name])
        return [synonyms[row.id] for row in categories]
    if list_name.startswith("pascal_voc"):
        synonyms = _openseg_table("pascal_context_59")
        by_name = {row.name: synonyms[row.id] for row in load_categories("pascal_context_59")}
        return [by_name.get(row.name, row.synonyms) for row in categories]  # background is not among the 59
    return [row.synonyms for row in categories]


def _openseg_table(table: str) -> Mapping[int, tuple[str, ...]]:
    """Map the id of each row of a category table to its OpenSeg synonyms."""
    written = json.loads(_OPENSEG.read_text(encoding="utf-8"))["tables"][table]
    return {row.id: row.synonyms for row in load_categories(table)} | {
        entry["id"]: tuple(entry["synonyms"]) for entry in written
    }


@cache
def _list_with(names: tuple[str, ...]) -> str | None:
    """The list that has these names, ignoring letter case and spaces, in this order."""
    for name in CATEGORY_LISTS:
        if tuple(fold(row.name) for row in category_list(name)) == names:
            return name
    return None
