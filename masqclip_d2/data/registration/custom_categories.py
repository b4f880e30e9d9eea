"""Whose words are the categories of a user's json: the vocabulary of a dataset, and the category id of each word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...categories import Category, label_color
from ...vocabulary import Vocabulary, as_vocabulary
from ...vocabulary.vocabulary import fold
from .common import category_metadata

Words = Vocabulary | str | Path | Sequence[str] | Mapping[int, str]


def words_and_ids(rows: Sequence[Mapping[str, Any]], words: Words | None, where: str) -> tuple[Vocabulary, list[int]]:
    """A vocabulary for the categories of a json, and the category id of each of its words.

    Args:
        rows: the categories of the json: id, name.
        words: see `register_instances`.
        where: the json, for messages.

    Returns:
        The vocabulary, in the order of `words`; without words, the names of the json by ascending id.

    Raises:
        ValueError: words and categories do not fit one to one, or an id is no whole number.
    """
    rows = sorted(rows, key=lambda row: _whole_number(row["id"], where))
    if words is None:
        names = [_natural(row["name"]) for row in rows]
        synonyms = [[word.strip() for word in name.split(",")] for name in names]
        return Vocabulary(names, [True] * len(names), synonyms), [row["id"] for row in rows]
    if isinstance(words, Mapping):
        ids = [row["id"] for row in rows]
        if set(words) != set(ids):
            raise ValueError(
                f"{where} has the category ids {_listed(ids)}, but words are given for {_listed(words)}; give words "
                "for each of them and no other."
            )
        return Vocabulary.from_names(list(words.values())), list(words)
    vocabulary = as_vocabulary(words)
    return vocabulary, _ids_by_name(rows, vocabulary, where)


def words_metadata(
    vocabulary: Vocabulary,
    ids: Sequence[int],
    is_thing: Sequence[bool],
    novel: str | Sequence[str],
    colors: Mapping[int, Sequence[int]],
) -> dict[str, Any]:
    """The part of a dataset's metadata that follows from its words.

    Args:
        vocabulary: K words; what it says of things is replaced by `is_thing`, its groups if there are novel words.
        ids: category id of each.
        is_thing: for each, whether it is a thing.
        novel: which of the words are novel.
        colors: (red, green, blue), 0..255, of the category ids that have one; those of the vocabulary come first.

    Raises:
        ValueError: a novel word is not among the words.
    """
    novel_ids = _novel_ids(vocabulary, novel)
    groups = dict(vocabulary.groups)
    if novel_ids:
        groups = {"base": tuple(i for i in range(len(vocabulary)) if i not in novel_ids), "novel": tuple(novel_ids)}
    vocabulary = replace(vocabulary, is_thing=tuple(is_thing), groups=groups)
    own_colors = vocabulary.colors or (None,) * len(vocabulary)
    categories = tuple(
        Category(
            id=ids[i],
            contiguous_id=i,
            name=name,
            isthing=bool(is_thing[i]),
            color=tuple(own_colors[i] or colors.get(ids[i]) or label_color(i + 1)),
            novel=i in novel_ids,
            synonyms=vocabulary.synonyms[i],
        )
        for i, name in enumerate(vocabulary.names)
    )
    return {
        **category_metadata(categories, with_groups=False),
        "vocabulary": vocabulary.to_dict(),
    }


def _ids_by_name(rows: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, where: str) -> list[int]:
    """The id of the category that each word names, by name or synonym."""
    position_of: dict[str, int] = {}
    for words in (zip(vocabulary.names, strict=True), vocabulary.synonyms):  # a name before another's synonym
        for position, of_one in enumerate(words):
            for word in of_one:
                position_of.setdefault(fold(word), position)
    ids: dict[int, int] = {}
    for row in rows:
        name = _natural(row["name"])
        found = [position_of[fold(word)] for word in (name, *name.split(",")) if fold(word) in position_of]
        if not found:
            raise _misfit(where, rows, vocabulary, f"{row['name']!r} is none of the words")
        if found[0] in ids:
            raise _misfit(where, rows, vocabulary, f"two are {vocabulary.names[found[0]]!r}")
        ids[found[0]] = row["id"]
    missing = [name for position, name in enumerate(vocabulary.names) if position not in ids]
    if missing:
        raise _misfit(where, rows, vocabulary, f"none is {missing[0]!r}")
    return [ids[position] for position in range(len(vocabulary))]


def _misfit(where: str, rows: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, why: str) -> ValueError:
    return ValueError(
        f"{where} has {len(rows)} categories, which do not fit the {len(vocabulary)} words one to one: {why}. Give as "
        f"many words, or words by category id, such as {{{rows[0]['id']!r}: {vocabulary.names[0]!r}, ...}}."
    )


def _novel_ids(vocabulary: Vocabulary, novel: str | Sequence[str]) -> list[int]:
    if not novel:
        return []
    names = {fold(name): position for position, name in enumerate(vocabulary.names)}
    wanted = [fold(name) for name in Vocabulary.from_names(novel).names]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(
            f"The novel word {unknown[0]!r} is none of the {len(names)} words: {_listed(vocabulary.names)}."
        )
    return sorted(names[name] for name in wanted)


def _whole_number(category_id: Any, where: str) -> int:
    if not isinstance(category_id, int):
        raise ValueError(f"{where} has the category id {category_id!r}, which is no whole number, as evaluation needs.")
    return category_id


def _natural(name: str) -> str:
    """A name as a text encoder reads it: without underscores and needless spaces."""
    return " ".join(str(name).replace("_", " ").split())


def _listed(values: Any, limit: int = 5) -> str:
    values = list(values)
    return ", ".join(map(repr, values[:limit])) + (f", ... ({len(values)})" if len(values) > limit else "")
