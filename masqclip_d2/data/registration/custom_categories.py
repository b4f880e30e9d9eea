"""Vocabulary of a user's dataset: matches category names to the category ids of an annotation file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

from ...categories import Category, label_color
from ...vocabulary import Vocabulary, as_vocabulary
from ...vocabulary.vocabulary import fold, split_categories
from ..annotation_files.structure import integer_id, used_categories
from .common import category_metadata

Categories = Vocabulary | str | Path | Sequence[str] | Mapping[int, str]


def vocabulary_and_ids(
    rows: Sequence[Mapping[str, Any]],
    categories: Categories | None,
    where: str,
    ignored: str | int | Sequence[str | int] = (),
) -> tuple[Vocabulary, list[int]]:
    """Return a vocabulary for the categories of an annotation file, and the category id of each of its categories.

    Args:
        rows: the categories of the file: id, name.
        categories: the user's names, see `register_instances`, of some categories or all; None: the names of the file.
        where: path of the file, for messages.
        ignored: names, or ids, of categories that are left out.

    Returns:
        The vocabulary in the order of `categories`, or of the file's ids.

    Raises:
        ValueError: a name matches no category, or several.
    """
    rows = _without_ignored(sorted(rows, key=lambda row: row["id"]), ignored, where)
    if categories is None:
        used_categories(rows, (), where)
        names = [_without_underscores(row["name"]) for row in rows]
        synonyms = tuple(tuple(synonym.strip() for synonym in name.split(",")) for name in names)
        try:
            return Vocabulary(tuple(names), (True,) * len(names), synonyms), [row["id"] for row in rows]
        except ValueError as error:
            raise ValueError(
                f"{where}: {error} Leave categories out by ignore_categories=[ids], or give names by category id."
            ) from None
    if isinstance(categories, Mapping):
        ids = [row["id"] for row in rows]
        given = {
            integer_id(key, f"{where}: names are given for the category id"): categories[key] for key in categories
        }
        if len(given) < len(categories):
            raise ValueError(f"{where}: names are given for {_listed(categories)}, which has a category id twice.")
        unknown = [key for key in given if key not in ids]
        if unknown or not given:
            raise ValueError(
                f"{where} has the category ids {_listed(ids)}, but names are given for {_listed(given)}; give names "
                "for some of these ids, or all."
            )
        return Vocabulary.from_names(list(given.values())), list(given)
    vocabulary = as_vocabulary(categories)
    return vocabulary, _ids_by_name(rows, vocabulary, where)


def category_ids_by_name(
    rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], where: str, other_file: str
) -> dict[int, int]:
    """Return {category id in one annotation file: id of the category of that name in another one of the same images}.

    A category whose name the other file does not have keeps its id if that is free; else it is left out.

    Args:
        rows: the categories of the file: id, name.
        others: those of the other file.
        where, other_file: the paths, for messages.

    Raises:
        ValueError: two categories match one of the other file, or none does.
    """
    id_of = {_folded(row["name"]): row["id"] for row in others}
    found = {row["id"]: id_of.get(_folded(row["name"])) for row in rows}
    free = {row["id"] for row in others} - set(found.values())
    ids = {own: own if other is None and own in free else other for own, other in found.items()}
    matched = {own: other for own, other in ids.items() if other is not None}
    repeated = [own for own, other in matched.items() if list(matched.values()).count(other) > 1]
    if repeated:
        raise ValueError(f"{where}: the category ids {_listed(repeated)} match the same category of {other_file}.")
    if not matched:
        raise ValueError(f"{where} has none of the categories of {other_file}; is it another dataset's file?")
    return matched


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
    """Category id of each category of the vocabulary, matched by name or synonym; others are left out."""
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
            continue
        if found[0] in ids:
            raise _mismatch(where, rows, vocabulary, f"two categories match {vocabulary.names[found[0]]!r}")
        ids[found[0]] = row["id"]
    missing = [name for position, name in enumerate(vocabulary.names) if position not in ids]
    if missing:
        raise _mismatch(where, rows, vocabulary, f"no category matches {missing[0]!r}")
    return [ids[position] for position in range(len(vocabulary))]


def _mismatch(where: str, rows: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, reason: str) -> ValueError:
    return ValueError(
        f"{where} has {len(rows)} categories ({_listed(row['name'] for row in rows)}), which do not match the "
        f"{len(vocabulary)} names one to one: {reason}. Give one name for each category that is used, or names by "
        f"category id, such as {{{rows[0]['id']!r}: {vocabulary.names[0]!r}, ...}}."
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


def _without_ignored(
    rows: Sequence[Mapping[str, Any]], ignored: str | int | Sequence[str | int], where: str
) -> list[Mapping[str, Any]]:
    if isinstance(ignored, (bool, float, bytes)) or not isinstance(ignored, (str, Integral, Iterable)):
        raise ValueError(f"{where}: ignore_categories is {ignored!r}; give names or category ids, or () for none.")
    if isinstance(ignored, str) and fold(ignored) not in {fold(row["name"]) for row in rows}:
        ignored = [name for names in split_categories(ignored, "ignore_categories") for name in names]
    required = list(ignored) if isinstance(ignored, Iterable) and not isinstance(ignored, str) else [ignored]
    left_out: set[int] = set()
    for key in required:
        found = [row["id"] for row in rows if key in (row["id"], row["name"])]
        if not found and isinstance(key, str):
            found = [row["id"] for row in rows if _folded(row["name"]) == fold(_without_underscores(key))]
        if not found:
            names = _listed(row["name"] for row in rows)
            raise ValueError(
                f"{where}: ignore_categories has {key!r}, which is none of its {len(rows)} categories: {names}."
            )
        left_out.update(found)
    kept = [row for row in rows if row["id"] not in left_out]
    if not kept:
        raise ValueError(f"{where}: ignore_categories leaves none of its {len(rows)} categories.")
    return kept


def _folded(name: str) -> str:
    return fold(_without_underscores(name))


def _without_underscores(name: str) -> str:
    return " ".join(str(name).replace("_", " ").split())


def _listed(values: Any, limit: int = 5) -> str:
    values = list(values)
    return ", ".join(map(repr, values[:limit])) + (f", ... ({len(values)})" if len(values) > limit else "")
