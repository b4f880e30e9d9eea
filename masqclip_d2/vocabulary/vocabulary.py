"""Vocabulary: the K categories a model is asked for, in order. It belongs to a test dataset or to a user's words."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Vocabulary:
    """K categories in the order of the class logits.

    Args:
        names: one name per category, which labels it and is MaskCLIP's text for it. Unique, also after folding case and
            spaces.
        is_thing: for each category, whether it is a thing (countable) or stuff.
        synonyms: for each category its words; MasQCLIP's text is the mean over them. Categories may share a word.
            Empty: every category has its name alone.
        groups: subsets of categories that are evaluated on their own, such as {"base": (0, 2), "novel": (1,)}.

    Raises:
        ValueError: no categories, blank or duplicate names, blank synonyms, lengths or indices that do not fit.
    """

    names: tuple[str, ...]
    is_thing: tuple[bool, ...]
    synonyms: tuple[tuple[str, ...], ...] = ()
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("names", "is_thing"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        synonyms = self.synonyms or ((name,) for name in self.names)
        object.__setattr__(self, "synonyms", tuple(tuple(words) for words in synonyms))
        object.__setattr__(self, "groups", {name: tuple(ids) for name, ids in self.groups.items()})
        self._check()

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_words(cls, words: str | Sequence[str], stuff: str | Sequence[str] = ()) -> Vocabulary:
        """Take a user's words.

        A text separates categories by commas, and the synonyms of one by bars: "cat|kitten,sofa|couch". Where it has a
        semicolon, semicolons separate categories, and commas or bars synonyms: "cat,kitten;sofa,couch" says the same.
        In a list each item is one category, its synonyms separated by commas or bars. The first synonym is the name.

        Args:
            words: the categories. Things, unless `stuff` says otherwise.
            stuff: words, in the same syntax, that are stuff: one of `words` (its name or a synonym) becomes stuff, any
                other is added as a further category.

        Raises:
            ValueError: no words, blank words, or a word given twice.
        """
        categories = _split_categories(words, "vocabulary")
        stuff_categories = _split_categories(stuff, "stuff list")
        _refuse_repeated(categories, "vocabulary")
        _refuse_repeated(stuff_categories, "stuff list")
        index_of = {fold(word): index for index, category in enumerate(categories) for word in category}
        is_thing = [True] * len(categories)
        for category in stuff_categories:
            known = {index_of[fold(word)] for word in category if fold(word) in index_of}
            for index in known:
                is_thing[index] = False
            if not known:
                categories.append(category)
                is_thing.append(False)
        return cls(tuple(category[0] for category in categories), tuple(is_thing), tuple(categories))

    @classmethod
    def from_metadata(cls, metadata: Any) -> Vocabulary:
        """Take the vocabulary of a dataset from its Detectron2 metadata.

        `metadata.vocabulary` (a `Vocabulary`, or what `to_dict` gives) if it is set. Else `thing_classes` and
        `stuff_classes`: where the second has every name of the first, it is the whole list (Detectron2's convention for
        panoptic datasets) and `thing_dataset_id_to_contiguous_id` tells which are things; otherwise things come first
        and stuff follows. A name such as "sofa, couch" lists synonyms.

        Raises:
            ValueError: the metadata has none of these, or keeps things as one class "things" of the stuff.
        """
        vocabulary = getattr(metadata, "vocabulary", None)
        if vocabulary is not None:
            return vocabulary if isinstance(vocabulary, cls) else cls.from_dict(vocabulary)
        things = [name.strip() for name in getattr(metadata, "thing_classes", None) or ()]
        stuff = [name.strip() for name in getattr(metadata, "stuff_classes", None) or ()]
        dataset = getattr(metadata, "name", "?")
        if not things and not stuff:
            raise ValueError(
                f"Dataset {dataset!r} has no metadata 'vocabulary', 'thing_classes' or 'stuff_classes'; set one when "
                "you register the dataset, or give words (--vocab)."
            )
        if things and stuff and stuff[0] == "things" and "things" not in things:
            raise ValueError(
                f"Dataset {dataset!r} merges all things into one stuff class 'things' (Detectron2's panoptic FPN "
                "format), which is no vocabulary; use its panoptic format, or set its metadata 'vocabulary'."
            )
        if things and stuff and set(things) <= set(stuff):
            names, is_thing = stuff, _things_among(stuff, things, metadata)
        else:
            names, is_thing = things + stuff, [True] * len(things) + [False] * len(stuff)
        return cls(tuple(names), tuple(is_thing), tuple(_split_synonyms(name) for name in names))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, for JSON and for dataset metadata."""
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=True)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Vocabulary:
        """Inverse of `to_dict`.

        Raises:
            ValueError: an entry is missing or unknown, or the content is no valid vocabulary.
        """
        known, required = {"names", "is_thing", "synonyms", "groups"}, {"names", "is_thing"}
        if not isinstance(fields, Mapping) or not required <= set(fields) <= known:
            got = ", ".join(map(str, fields)) if isinstance(fields, Mapping) else type(fields).__name__
            raise ValueError(f"A vocabulary has the entries names, is_thing, synonyms, groups; got: {got}.")
        return cls(**fields)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Inverse of `to_json`; errors as in `from_dict`."""
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"The vocabulary is not JSON: {error}.") from error
        return cls.from_dict(fields)

    def _check(self) -> None:
        if not self.names:
            raise ValueError("The vocabulary is empty; give at least one word, such as 'cat,dog'.")
        if not len(self.names) == len(self.is_thing) == len(self.synonyms):
            raise ValueError(
                f"A vocabulary needs one entry of is_thing and synonyms per name: {len(self.names)} names, "
                f"{len(self.is_thing)} is_thing, {len(self.synonyms)} synonyms."
            )
        blank = [i for i, words in enumerate(self.synonyms) if not fold(self.names[i]) or not all(map(fold, words))]
        blank += [i for i, words in enumerate(self.synonyms) if not words]
        if blank:
            raise ValueError(f"The vocabulary has blank words in categories {sorted(set(blank))} (counted from 0).")
        _refuse_repeated([(name,) for name in self.names], "vocabulary")
        outside = {name: [i for i in ids if not 0 <= i < len(self)] for name, ids in self.groups.items()}
        outside = {name: ids for name, ids in outside.items() if ids}
        if outside:
            raise ValueError(f"Groups name categories outside 0..{len(self) - 1}: {outside}.")


def fold(word: str) -> str:
    """What makes two words the same: letter case and spaces do not matter."""
    return " ".join(word.split()).casefold()


def _split_categories(words: str | Iterable[str], what: str) -> list[tuple[str, ...]]:
    """Categories as tuples of synonyms; the syntax is that of `Vocabulary.from_words`."""
    if isinstance(words, str):
        separator = ";" if ";" in words else ","
        # A closing semicolon is a terminator: "cat,kitten;" is one category.
        items = words.removesuffix(";").split(separator) if words.strip() else []
        categories = [tuple(re.split(r"[,|]" if separator == ";" else r"\|", item)) for item in items]
        given = repr(words)
    else:
        items = list(words)
        categories = [tuple(re.split(r"[,|]", item)) for item in items]
        given = str(items)
    categories = [tuple(" ".join(word.split()) for word in category) for category in categories]
    blank = [index for index, category in enumerate(categories, start=1) if not all(category)]
    if blank:
        raise ValueError(
            f"The {what} {given} has blank words at position {', '.join(map(str, blank))}; remove the extra separators."
        )
    return categories


def _refuse_repeated(categories: Iterable[Sequence[str]], what: str) -> None:
    counts = Counter(fold(word) for category in categories for word in category)
    repeated = [word for word, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f"The {what} has duplicate words: {', '.join(map(repr, repeated))} (letter case and spaces do not matter); "
            "give each once."
        )


def _split_synonyms(name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in name.split(",") if word.strip()) or (name,)


def _things_among(names: Sequence[str], things: Sequence[str], metadata: Any) -> list[bool]:
    thing_ids = getattr(metadata, "thing_dataset_id_to_contiguous_id", None)
    if thing_ids is None:
        return [name in set(things) for name in names]
    return [index in set(thing_ids.values()) for index in range(len(names))]
