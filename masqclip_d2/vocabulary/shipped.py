"""Shipped vocabularies: every list of categories in the form of each paper and in a richer one, as LIST/FORM.

| form | words of a category | templates | ensemble |
| --- | --- | --- | --- |
| maskclip | its name as registered, "sofa, couch" included | none | first |
| masqclip | its synonyms; natural ones for the names of COCO that are none | none | mean |
| openseg | OpenSeg's; LVIS' own synonyms; for Shapes its names | vild_14 | max |

OpenSeg has no list for PASCAL VOC; its categories have their words of Pascal Context's 59.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..categories import Category, load_categories
from ..categories.lists import CATEGORY_LISTS, category_list
from .io import SUFFIXES, read_vocabulary
from .vocabulary import Vocabulary, fold, near_match

STYLES = ("maskclip", "masqclip", "openseg")

_OPENSEG = Path(__file__).parent / "openseg.json"
# List -> category table that its rows are from and whose ids they have. The others' synonyms are the best there are.
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
    """All names that `load_vocabulary` knows beside files."""
    return [f"{name}/{form}" for name in CATEGORY_LISTS for form in STYLES]


def is_vocabulary_name(name_or_path: str | Path) -> bool:
    """Whether this is what `load_vocabulary` takes, by its looks (a file need not exist), not the words of a user."""
    return isinstance(name_or_path, Path) or name_or_path.endswith(SUFFIXES) or name_or_path in shipped_names()


def load_vocabulary(name_or_path: str | Path) -> Vocabulary:
    """`Vocabulary.load`."""
    name = str(name_or_path)
    if name in shipped_names():
        list_name, form = name.split("/")
        return _shipped(list_name, form)
    if is_vocabulary_name(name_or_path) or Path(name).expanduser().is_file():
        return read_vocabulary(name)
    lists = ", ".join(CATEGORY_LISTS)
    raise FileNotFoundError(
        f"There is no vocabulary {name!r}: neither a file nor a shipped one, LIST/FORM with LIST one of {lists} and "
        f"FORM one of {', '.join(STYLES)}.{near_match(name, shipped_names())}"
    )


def as_vocabulary(words: Vocabulary | str | Path | Sequence[str], stuff: str | Sequence[str] = ()) -> Vocabulary:
    """Words in any of the ways a user gives them.

    Args:
        words: a `Vocabulary`; one by its file or shipped name, see `is_vocabulary_name`; else words, see
            `Vocabulary.from_names`.
        stuff: which of the words are stuff; a vocabulary says that itself.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no valid vocabulary, or `stuff` beside one that says itself what is stuff.
    """
    is_name = isinstance(words, (str, Path)) and is_vocabulary_name(words)
    if not is_name and not isinstance(words, Vocabulary):
        return Vocabulary.from_names(words, stuff)
    if stuff:
        raise ValueError(
            "`stuff` goes with words; a vocabulary, and a vocabulary file, says itself which categories are stuff."
        )
    return Vocabulary.load(words) if is_name else words


def in_style(vocabulary: Vocabulary, form: str) -> Vocabulary:
    """The categories of a vocabulary in another form.

    Args:
        vocabulary: a dataset's own. If it has the names of one of `CATEGORY_LISTS`, whatever the dataset is called, its
            words are that list's.
        form: one of `STYLES`.

    Returns:
        The same names, things and groups.

    Raises:
        ValueError: the form is "openseg" and the names are those of no list.
    """
    list_name = _list_with(tuple(map(fold, vocabulary.names)))
    if list_name is not None:
        words = _shipped(list_name, form)
        return replace(words, names=vocabulary.names, is_thing=vocabulary.is_thing, groups=vocabulary.groups)
    if form == "openseg":
        raise ValueError(
            f"There are no OpenSeg names for these {len(vocabulary)} categories ({', '.join(vocabulary.names[:3])}, "
            f"...): they are none of the lists {', '.join(CATEGORY_LISTS)}. Write a vocabulary file."
        )
    if form == "maskclip":
        vocabulary = replace(vocabulary, synonyms=())
    return replace(vocabulary, templates="name", ensemble=_ENSEMBLE_OF[form])


_ENSEMBLE_OF = {"maskclip": "first", "masqclip": "mean", "openseg": "max"}


@cache
def _shipped(list_name: str, form: str) -> Vocabulary:
    categories = category_list(list_name)
    words = {
        "maskclip": lambda: [(row.name,) for row in categories],
        "masqclip": lambda: [row.synonyms for row in categories],
        "openseg": lambda: _openseg_words(list_name, categories),
    }[form]()
    groups = {
        "base": tuple(row.contiguous_id for row in categories if not row.novel),
        "novel": tuple(row.contiguous_id for row in categories if row.novel),
    }
    return Vocabulary(
        tuple(row.name for row in categories),
        tuple(row.isthing for row in categories),
        tuple(words),
        groups if all(groups.values()) else {},
        templates="vild_14" if form == "openseg" else "name",
        ensemble=_ENSEMBLE_OF[form],
        colors=tuple(row.color for row in categories),
    )


def _openseg_words(list_name: str, categories: tuple[Category, ...]) -> list[tuple[str, ...]]:
    if list_name in _OPENSEG_TABLES:
        words = _openseg_table(_OPENSEG_TABLES[list_name])
        return [words[row.id] for row in categories]
    if list_name.startswith("pascal_voc"):
        words = _openseg_table("pascal_context_59")
        by_name = {row.name: words[row.id] for row in load_categories("pascal_context_59")}
        return [by_name.get(row.name, row.synonyms) for row in categories]  # background is none of the 59
    return [row.synonyms for row in categories]


def _openseg_table(table: str) -> Mapping[int, tuple[str, ...]]:
    """Id of each row of a category table -> OpenSeg's words."""
    written = json.loads(_OPENSEG.read_text(encoding="utf-8"))["tables"][table]
    return {row.id: row.synonyms for row in load_categories(table)} | {
        entry["id"]: tuple(entry["words"]) for entry in written
    }


@cache
def _list_with(names: tuple[str, ...]) -> str | None:
    """The list that has these names, folded, in this order."""
    for name in CATEGORY_LISTS:
        if tuple(fold(row.name) for row in category_list(name)) == names:
            return name
    return None
