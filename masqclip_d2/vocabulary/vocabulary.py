"""Vocabulary: the K categories a model is asked for, in order. It belongs to a test dataset or to a user's words."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .prompts import TEMPLATES

ENSEMBLES = ("first", "mean", "max")
"""What a category's logit is made of: its name alone (MaskCLIP), the mean of its synonyms' embeddings (MasQCLIP), or
the largest logit of its synonyms."""


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
        templates: sentences that the words are put into: the name of a set of `prompts.TEMPLATES`, or own ones with
            `{}` for the word (and `{article}` for "a" or "an"). "": those of the model.
        ensemble: one of `ENSEMBLES`; "": that of the model.
        background_prompts: texts that compete with the categories in the soft-max and are never an answer.
        colors: for each category (red, green, blue), 0..255, or None: pictures choose one. Empty: all None.

    Raises:
        ValueError: no categories, blank or duplicate words, lengths or indices that do not fit, no such templates,
            ensemble or colours.
    """

    names: tuple[str, ...]
    is_thing: tuple[bool, ...]
    synonyms: tuple[tuple[str, ...], ...] = ()
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    templates: str | tuple[str, ...] = ""
    ensemble: str = ""
    background_prompts: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int] | None, ...] = ()

    def __post_init__(self) -> None:
        for name in ("names", "is_thing", "background_prompts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        synonyms = self.synonyms or ((name,) for name in self.names)
        object.__setattr__(self, "synonyms", tuple(tuple(words) for words in synonyms))
        object.__setattr__(self, "groups", {name: tuple(ids) for name, ids in self.groups.items()})
        if not isinstance(self.templates, str) or "{}" in self.templates:
            own = (self.templates,) if isinstance(self.templates, str) else tuple(self.templates)
            object.__setattr__(self, "templates", own)
        colors = tuple(None if color is None else tuple(color) for color in self.colors)
        object.__setattr__(self, "colors", colors if any(color is not None for color in colors) else ())
        self._check()

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_names(cls, words: str | Sequence[str], stuff: str | Sequence[str] = ()) -> Vocabulary:
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
        categories = split_categories(words, "vocabulary")
        stuff_categories = split_categories(stuff, "stuff list")
        refuse_repeated(categories, "vocabulary")
        refuse_repeated(stuff_categories, "stuff list")
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

    @classmethod
    def load(cls, name_or_path: str | Path) -> Vocabulary:
        """A shipped vocabulary by its name, such as "coco_panoptic/openseg", or one of a file.

        Raises:
            FileNotFoundError: neither a shipped name nor a file.
            ValueError: see `from_file`.
        """
        from .shipped import load_vocabulary

        return load_vocabulary(name_or_path)

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """Read a file (.yaml, .yml, .json); what stands in it: `vocabulary_file`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no YAML or JSON, has unknown keys, or its content is no valid vocabulary.
        """
        from .io import read_vocabulary

        return read_vocabulary(path)

    def to_file(self, path: str | Path) -> None:
        """Write a file that `from_file` reads again, whole or not at all.

        Raises:
            ValueError: `path` has another ending than .yaml, .yml or .json.
        """
        from .io import write_vocabulary

        write_vocabulary(path, self)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, for JSON and for dataset metadata."""
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=True)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Vocabulary:
        """Inverse of `to_dict`; all entries but names and is_thing may be left out.

        Raises:
            ValueError: an entry is missing or unknown, or the content is no valid vocabulary.
        """
        known, required = [entry.name for entry in fields(cls)], {"names", "is_thing"}
        if not isinstance(entries, Mapping) or not required <= set(entries) <= set(known):
            got = ", ".join(map(str, entries)) if isinstance(entries, Mapping) else type(entries).__name__
            raise ValueError(f"A vocabulary has the entries {', '.join(known)}; got: {got}.")
        return cls(**entries)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Inverse of `to_json`; errors as in `from_dict`."""
        try:
            entries = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"The vocabulary is not JSON: {error}.") from error
        return cls.from_dict(entries)

    def _check(self) -> None:
        if not self.names:
            raise ValueError("The vocabulary is empty; give at least one word, such as 'cat,dog'.")
        if not len(self.names) == len(self.is_thing) == len(self.synonyms) == len(self.colors or self.names):
            raise ValueError(
                f"A vocabulary needs one entry of is_thing, synonyms and colors per name: {len(self.names)} names, "
                f"{len(self.is_thing)} is_thing, {len(self.synonyms)} synonyms, {len(self.colors)} colors."
            )
        words = [*self.names, *self.background_prompts, *(word for words in self.synonyms for word in words)]
        no_text = next((word for word in words if not isinstance(word, str)), None)
        if no_text is not None:
            raise ValueError(f"Words are texts, got {no_text!r} ({type(no_text).__name__}); put it in quotes.")
        blank = [i for i, words in enumerate(self.synonyms) if not fold(self.names[i]) or not all(map(fold, words))]
        blank += [i for i, words in enumerate(self.synonyms) if not words]
        if blank:
            raise ValueError(f"The vocabulary has blank words in categories {sorted(set(blank))} (counted from 0).")
        refuse_repeated([(name,) for name in self.names], "vocabulary")
        outside = {name: [i for i in ids if not 0 <= i < len(self)] for name, ids in self.groups.items()}
        outside = {name: ids for name, ids in outside.items() if ids}
        if outside:
            raise ValueError(f"Groups name categories outside 0..{len(self) - 1}: {outside}.")
        self._check_negatives()
        _check_templates(self.templates)
        _check_ensemble(self.ensemble)
        for name, color in zip(self.names, self.colors or [None] * len(self), strict=True):
            _check_color(name, color)

    def _check_negatives(self) -> None:
        if not all(map(fold, self.background_prompts)):
            raise ValueError(f"The background_prompts {list(self.background_prompts)} have blank words; remove them.")
        refuse_repeated([(word,) for word in self.background_prompts], "list of background_prompts")
        category_of = {fold(name): name for name in self.names}
        for name, words in zip(self.names, self.synonyms, strict=True):
            category_of |= {fold(word): name for word in words}
        both = [word for word in self.background_prompts if fold(word) in category_of]
        if both:
            raise ValueError(
                f"{both[0]!r} is a negative and a word of category {category_of[fold(both[0])]!r}; remove one of them."
            )


def fold(word: str) -> str:
    """What makes two words the same: letter case and spaces do not matter."""
    return " ".join(word.split()).casefold()


def split_categories(words: str | Iterable[str], what: str) -> list[tuple[str, ...]]:
    """Categories as tuples of synonyms; the syntax is that of `Vocabulary.from_names`."""
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


def refuse_repeated(categories: Iterable[Sequence[str]], what: str) -> None:
    """Raise ValueError if two words of all categories, folded, are the same."""
    counts = Counter(fold(word) for category in categories for word in category)
    repeated = [word for word, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f"The {what} has duplicate words: {', '.join(map(repr, repeated))} (letter case and spaces do not matter); "
            "give each once."
        )


def near_match(word: str, known: Iterable[str]) -> str:
    """A sentence that asks for the nearest of some words, after a space; empty if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _check_templates(templates: str | tuple[str, ...]) -> None:
    if isinstance(templates, str):
        if templates and templates not in TEMPLATES:
            known = ", ".join(TEMPLATES)
            hint = near_match(templates, TEMPLATES)
            raise ValueError(f"No prompt templates named {templates!r}; known: {known}.{hint}")
        return
    if not templates:
        raise ValueError("The list of templates is empty; leave it out, or give at least '{}', the bare word.")
    wrong = [text for text in templates if not isinstance(text, str) or text.count("{}") != 1]
    if wrong:
        raise ValueError(f"A template has one {{}} for the word, got {wrong[0]!r}.")
    refuse_repeated([(text,) for text in templates], "list of templates")


def _check_ensemble(ensemble: str) -> None:
    if ensemble and ensemble not in ENSEMBLES:
        raise ValueError(f"ensemble is one of {', '.join(ENSEMBLES)}; got {ensemble!r}.")


def _check_color(name: str, color: tuple | None) -> None:
    is_color = color is None or (
        len(color) == 3 and all(type(channel) is int and 0 <= channel <= 255 for channel in color)
    )
    if not is_color:
        raise ValueError(f"The color of {name!r} is {list(color)}; give red, green and blue, whole numbers 0..255.")


def _split_synonyms(name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in name.split(",") if word.strip()) or (name,)


def _things_among(names: Sequence[str], things: Sequence[str], metadata: Any) -> list[bool]:
    thing_ids = getattr(metadata, "thing_dataset_id_to_contiguous_id", None)
    if thing_ids is None:
        return [name in set(things) for name in names]
    return [index in set(thing_ids.values()) for index in range(len(names))]
