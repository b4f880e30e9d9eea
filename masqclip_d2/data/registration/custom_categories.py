"""Vocabulary of a user's dataset: matches category names to the category ids of an annotation file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...categories import Category, label_color
from ...vocabulary import Vocabulary, as_vocabulary
from ...vocabulary.vocabulary import fold
from .common import category_metadata

Categories = Vocabulary | str | Path | Sequence[str] | Mapping[int, str]


def vocabulary_and_ids(
    rows: Sequence[Mapping[str, Any]], categories: Categories | None, where: str
) -> tuple[Vocabulary, list[int]]:
    """Return a vocabulary for the categories of an annotation file, and the category id of each of its categories.

    Args:
        rows: the categories of the file: id, name.
        categories: the user's names, see `register_instances`; None: the names of the file.
        where: path of the file, for messages.

    Returns:
        The vocabulary in the order of `categories`, or of the file's ids.

    Raises:
        ValueError: names and categories do not match one to one, or an id is no integer.
    """
    rows = sorted(rows, key=lambda row: _integer(row["id"], where))
    if categories is None:
        names = [_without_underscores(row["name"]) for row in rows]
        synonyms = tuple(tuple(synonym.strip() for synonym in name.split(",")) for name in names)
        return Vocabulary(tuple(names), (True,) * len(names), synonyms), [row["id"] for row in rows]
    if isinstance(categories, Mapping):
        ids = [row["id"] for row in rows]
        if set(categories) != set(ids):
            raise ValueError(
                f"{where} has the category ids {_listed(ids)}, but names are given for {_listed(categories)}; give "
                "names for exactly these ids."
            )
        return Vocabulary.from_names(list(categories.values())), list(categories)
    vocabulary = as_vocabulary(categories)
    return vocabulary, _ids_by_name(rows, vocabulary, where)


def vocabulary_metadata(
    vocabulary: Vocabulary,
    ids: Sequence[int],
    is_thing: Sequence[bool],
    novel: str | Sequence[str],
    colors: Mapping[int, Sequence[int]],
) -> dict[str, Any]:
    """Return the metadata that follow from a dataset's vocabulary.

    Args:
        vocabulary: K categories. Its things are replaced by `is_thing`, its groups if there are novel names.
        ids: category id of each.
        is_thing: for each, whether it is a thing.
        novel: names of the novel categories.
        colors: (red, green, blue), 0..255, by category id, for categories without a color in the vocabulary.

    Raises:
        ValueError: a novel name is not among the categories.
    """
    novel_ids = _novel_ids(vocabulary, novel)
    groups = dict(vocabulary.groups)
    if novel_ids:
        groups = {"base": tuple(i for i in range(len(vocabulary)) if i not in novel_ids), "novel": tuple(novel_ids)}
    vocabulary = replace(vocabulary, is_thing=tuple(is_thing), groups=groups)
    own_colors = vocabulary.colors or (None,) * len(vocabulary)
    categories = []
    for i, name in enumerate(vocabulary.names):
        red, green, blue = own_colors[i] or colors.get(ids[i]) or label_color(i + 1)
        category = Category(
            id=ids[i],
            contiguous_id=i,
            name=name,
            isthing=bool(is_thing[i]),
            color=(red, green, blue),
            novel=i in novel_ids,
            synonyms=vocabulary.synonyms[i],
        )
        categories.append(category)
    return {**category_metadata(tuple(categories), with_groups=False), "vocabulary": vocabulary.to_dict()}


def _ids_by_name(rows: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, where: str) -> list[int]:
    """Category id of each category of the vocabulary, matched by name or synonym."""
    position_of: dict[str, int] = {}
    # A name takes precedence over a synonym of another category.
    for names_by_category in ([(name,) for name in vocabulary.names], vocabulary.synonyms):
        for position, names in enumerate(names_by_category):
            for name in names:
                position_of.setdefault(fold(name), position)
    ids: dict[int, int] = {}
    for row in rows:
        name = _without_underscores(row["name"])
        found = [position_of[fold(part)] for part in (name, *name.split(",")) if fold(part) in position_of]
        if not found:
            raise _mismatch(where, rows, vocabulary, f"{row['name']!r} is none of the names")
        if found[0] in ids:
            raise _mismatch(where, rows, vocabulary, f"two categories match {vocabulary.names[found[0]]!r}")
        ids[found[0]] = row["id"]
    missing = [name for position, name in enumerate(vocabulary.names) if position not in ids]
    if missing:
        raise _mismatch(where, rows, vocabulary, f"no category matches {missing[0]!r}")
    return [ids[position] for position in range(len(vocabulary))]


def _mismatch(where: str, rows: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, reason: str) -> ValueError:
    return ValueError(
        f"{where} has {len(rows)} categories, which do not match the {len(vocabulary)} names one to one: {reason}. "
        f"Give one name for each, or names by category id, such as {{{rows[0]['id']!r}: {vocabulary.names[0]!r}, ...}}."
    )


def _novel_ids(vocabulary: Vocabulary, novel: str | Sequence[str]) -> list[int]:
    if not novel:
        return []
    names = {fold(name): position for position, name in enumerate(vocabulary.names)}
    required = [fold(name) for name in Vocabulary.from_names(novel).names]
    unknown = [name for name in required if name not in names]
    if unknown:
        raise ValueError(
            f"The novel category {unknown[0]!r} is none of the {len(names)} categories: {_listed(vocabulary.names)}."
        )
    return sorted(names[name] for name in required)


def _integer(category_id: Any, where: str) -> int:
    if not isinstance(category_id, int):
        raise ValueError(f"{where} has the category id {category_id!r}, but evaluation requires integer ids.")
    return category_id


def _without_underscores(name: str) -> str:
    return " ".join(str(name).replace("_", " ").split())


def _listed(values: Any, limit: int = 5) -> str:
    values = list(values)
    return ", ".join(map(repr, values[:limit])) + (f", ... ({len(values)})" if len(values) > limit else "")
