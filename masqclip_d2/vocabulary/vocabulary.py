"""Vocabulary: the K categories of a prediction, in the order of the class logits.

A vocabulary belongs to a test dataset or comes from a user's category names. Files and shipped vocabularies: `io`.
"""

from __future__ import annotations

import difflib
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any, NoReturn

from .prompts import TEMPLATES

ENSEMBLES = ("first", "mean", "max")
"""How the logit of a category is computed: from its name alone (MaskCLIP), from the mean of its synonyms' embeddings
(MasQCLIP), or as the largest logit of its synonyms."""

logger = logging.getLogger(__name__)

RENAMED_FIELDS = {"negatives": "background_prompts"}


def _refused(old: str, new: str) -> Callable[..., NoReturn]:
    def refuse(*_arguments: Any, **_keywords: Any) -> NoReturn:
        raise AttributeError(f"Vocabulary.{old} does not exist; use {new}.")

    return staticmethod(refuse)


_TEXT_ORDER = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they turn the text around them


@dataclass(frozen=True)
class Vocabulary:
    """K categories in the order of the class logits.

    Args:
        names: one name per category: its label, and its prompt in MaskCLIP. Unique, ignoring letter case and spaces.
        is_thing: for each category, True for a thing (countable), False for stuff.
        synonyms: for each category its synonyms, whose mean embedding MasQCLIP uses. Categories may share a synonym.
            Empty: the name is the only synonym of each category.
        groups: subsets of categories that get metrics of their own, such as {"base": (0, 2), "novel": (1,)}.
        templates: prompt templates: the name of a set in `prompts.TEMPLATES`, or a sequence of templates with `{}` for
            the category name (and `{article}` for "a" or "an"). "": those of the model.
        ensemble: one of `ENSEMBLES`. "": that of the model.
        background_prompts: texts that compete with the categories in the soft-max and are never predicted.
        colors: for each category (red, green, blue), 0..255, or None: chosen by the visualization. Empty: all None.

    Raises:
        ValueError: no categories, blank or duplicate names, lengths or indices that do not match, unknown templates or
            ensemble, or a value that is no color.
    """

    names: tuple[str, ...]
    is_thing: tuple[bool, ...]
    synonyms: tuple[tuple[str, ...], ...] = ()
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    templates: str | tuple[str, ...] = ""
    ensemble: str = ""
    background_prompts: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int] | None, ...] = ()

    load = _refused("load", "masqclip_d2.load_vocabulary(name_or_path)")
    from_file = _refused("from_file", "masqclip_d2.load_vocabulary(path)")
    to_file = _refused("to_file", "masqclip_d2.save_vocabulary(vocabulary, path)")
    from_words = _refused("from_words", "Vocabulary.from_names(names)")

    def __new__(cls, *_arguments: Any, **keywords: Any) -> Vocabulary:
        renamed = _renamed_in(keywords)
        if renamed:
            raise TypeError(f"Vocabulary() has an unknown argument:{renamed}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self._check_containers()
        for name in ("names", "is_thing", "background_prompts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        synonyms = self.synonyms or ((name,) for name in self.names)
        object.__setattr__(self, "synonyms", tuple(tuple(of_category) for of_category in synonyms))
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
    def from_names(cls, names: str | Sequence[str], stuff: str | Sequence[str] = ()) -> Vocabulary:
        """Make a vocabulary from category names.

        A string separates categories by commas and the synonyms of a category by bars: "cat|kitten,sofa|couch". If it
        has a semicolon, semicolons separate categories, and commas or bars synonyms: "cat,kitten;sofa,couch" is the
        same. In a sequence each item is one category, its synonyms separated by commas or bars. The first synonym is
        the category's name. "cat . dog ." is understood too, and one category per line without commas. A slash is part
        of a name; with spaces around it there is a warning.

        Args:
            names: the categories; things, unless listed in `stuff`.
            stuff: categories, in the same syntax, that are stuff. One that matches a name or synonym in `names` marks
                that category as stuff; any other is appended as a further category.

        Raises:
            TypeError: `names` or `stuff` is neither a string nor a list of strings.
            ValueError: no names, blank names, or duplicate names.
        """
        categories = split_categories(names, "vocabulary")
        stuff_categories = split_categories(stuff, "stuff list")
        refuse_repeated(categories, "vocabulary")
        refuse_repeated(stuff_categories, "stuff list")
        index_of = {fold(name): index for index, category in enumerate(categories) for name in category}
        is_thing = [True] * len(categories)
        for category in stuff_categories:
            known = {index_of[fold(name)] for name in category if fold(name) in index_of}
            for index in known:
                is_thing[index] = False
            if not known:
                categories.append(category)
                is_thing.append(False)
        return cls(tuple(category[0] for category in categories), tuple(is_thing), tuple(categories))

    @classmethod
    def from_metadata(cls, metadata: Any) -> Vocabulary:
        """Return the vocabulary of a dataset, from its Detectron2 metadata.

        `metadata.vocabulary` (a `Vocabulary`, or the result of `to_dict`) if set. Otherwise `thing_classes` and
        `stuff_classes`: if the second contains every name of the first, it is the whole list (Detectron2's convention
        for panoptic datasets) and `thing_dataset_id_to_contiguous_id` lists the things; if not, things come first and
        stuff follows. A name such as "sofa, couch" lists synonyms. Groups are then those of `category_groups`,
        {"base": contiguous ids, ...}, if set.

        Raises:
            ValueError: the metadata has none of these, merges all things into one stuff class "things", has groups that
                do not match its categories, or has both `vocabulary` and `category_groups`.
        """
        dataset = getattr(metadata, "name", "?")
        vocabulary = getattr(metadata, "vocabulary", None)
        groups = getattr(metadata, "category_groups", None) or {}
        if vocabulary is not None:
            if groups:
                raise ValueError(
                    f"Dataset {dataset!r} has both metadata 'vocabulary' and 'category_groups'; remove the second and "
                    "set the groups of the vocabulary."
                )
            return vocabulary if isinstance(vocabulary, cls) else cls.from_dict(vocabulary)
        things = [name.strip() for name in getattr(metadata, "thing_classes", None) or ()]
        stuff = [name.strip() for name in getattr(metadata, "stuff_classes", None) or ()]
        if not things and not stuff:
            raise ValueError(
                f"Dataset {dataset!r} has no metadata 'vocabulary', 'thing_classes' or 'stuff_classes'; set one when "
                "you register the dataset, or pass category names."
            )
        if things and stuff and stuff[0] == "things" and "things" not in things:
            raise ValueError(
                f"Dataset {dataset!r} merges all things into one stuff class 'things' (Detectron2's panoptic FPN "
                "format), which is not a vocabulary; use its panoptic format, or set its metadata 'vocabulary'."
            )
        if things and stuff and set(things) <= set(stuff):
            names, is_thing = stuff, _things_among(stuff, things, metadata)
        else:
            names, is_thing = things + stuff, [True] * len(things) + [False] * len(stuff)
        try:
            return cls(tuple(names), tuple(is_thing), tuple(_split_synonyms(name) for name in names), groups)
        except ValueError as error:
            raise ValueError(f"Dataset {dataset!r}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain containers and strings, for JSON and for dataset metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Vocabulary:
        """Inverse of `to_dict`; only names and is_thing are required.

        Raises:
            ValueError: an entry is missing or unknown, or the content is no valid vocabulary.
        """
        known, required = [entry.name for entry in fields(cls)], {"names", "is_thing"}
        if not isinstance(entries, Mapping) or not required <= set(entries) <= set(known):
            got = ", ".join(map(str, entries)) if isinstance(entries, Mapping) else type(entries).__name__
            raise ValueError(f"A vocabulary has the entries {', '.join(known)}; got: {got}.{_renamed_in(entries)}")
        return cls(**entries)

    def _check_containers(self) -> None:
        for name in ("names", "is_thing", "synonyms", "background_prompts", "colors"):
            value = getattr(self, name)
            if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
                raise ValueError(f"The entry {name} of a vocabulary must be a list, got {type(value).__name__}.")
        if not isinstance(self.groups, Mapping):
            raise ValueError(f"The entry groups of a vocabulary must be a dict, got {type(self.groups).__name__}.")

    def _check(self) -> None:
        if not self.names:
            raise ValueError("The vocabulary is empty; give at least one category name, such as 'cat,dog'.")
        if not len(self.names) == len(self.is_thing) == len(self.synonyms) == len(self.colors or self.names):
            raise ValueError(
                f"A vocabulary needs one entry of is_thing, synonyms and colors per name: {len(self.names)} names, "
                f"{len(self.is_thing)} is_thing, {len(self.synonyms)} synonyms, {len(self.colors)} colors."
            )
        texts = [*self.names, *self.background_prompts, *(name for synonyms in self.synonyms for name in synonyms)]
        no_string = next((text for text in texts if not isinstance(text, str)), None)
        if no_string is not None:
            raise ValueError(
                f"Category names must be strings, got {no_string!r} ({type(no_string).__name__}); put it in quotes."
            )
        for text in texts:
            _check_characters(text)
        blank = [
            index
            for index, synonyms in enumerate(self.synonyms)
            if not fold(self.names[index]) or not synonyms or not all(map(fold, synonyms))
        ]
        if blank:
            raise ValueError(f"The vocabulary has blank names in categories {blank} (counted from 0).")
        refuse_repeated([(name,) for name in self.names], "vocabulary")
        outside = {name: [i for i in ids if not 0 <= i < len(self)] for name, ids in self.groups.items()}
        outside = {name: ids for name, ids in outside.items() if ids}
        if outside:
            raise ValueError(
                f"Groups have ids outside 0..{len(self) - 1} (there are {len(self)} categories): {outside}."
            )
        self._check_background_prompts()
        _check_templates(self.templates)
        _check_ensemble(self.ensemble)
        for name, color in zip(self.names, self.colors or [None] * len(self), strict=True):
            _check_color(name, color)

    def _check_background_prompts(self) -> None:
        if not all(map(fold, self.background_prompts)):
            raise ValueError(f"The background_prompts {list(self.background_prompts)} have blank texts; remove them.")
        refuse_repeated([(text,) for text in self.background_prompts], "list of background_prompts")
        category_of = {fold(name): name for name in self.names}
        for name, synonyms in zip(self.names, self.synonyms, strict=True):
            category_of |= {fold(synonym): name for synonym in synonyms}
        both = [text for text in self.background_prompts if fold(text) in category_of]
        if both:
            raise ValueError(
                f"{both[0]!r} is both a background prompt and a name of category {category_of[fold(both[0])]!r}; "
                "remove one of them."
            )


def fold(name: str) -> str:
    """Return the form in which names are compared: letter case, spaces and the coding of accents do not matter."""
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


def split_categories(names: str | Iterable[str], what: str) -> list[tuple[str, ...]]:
    """Split a list of categories into tuples of synonyms; the syntax is that of `Vocabulary.from_names`.

    Raises:
        TypeError: neither a string nor a list of strings.
        ValueError: a name is blank.
    """
    if isinstance(names, (bytes, Mapping)) or not isinstance(names, Iterable):
        raise TypeError(f"The {what} is of type {type(names).__name__}; expected 'cat,dog', or a list of names.")
    if isinstance(names, str):
        given = repr(names)
        if _separated_by_dots(names):
            names = ",".join(re.split(r"\.(?:\s+|$)", names.strip().removesuffix(".")))
        elif not re.search(r"[,;]", names):
            names = ",".join(line for line in names.splitlines() if line.strip())
        separator = ";" if ";" in names else ","
        # A closing semicolon is a terminator: "cat,kitten;" is one category.
        items = names.removesuffix(";").split(separator) if names.strip() else []
        categories = [tuple(re.split(r"[,|]" if separator == ";" else r"\|", item)) for item in items]
    else:
        items = list(names)
        for item in items:
            if not isinstance(item, str):
                raise TypeError(
                    f"The {what} has {item!r} of type {type(item).__name__}; each category is a string, with its "
                    "synonyms after bars: 'cat|kitten'."
                )
        categories = [tuple(re.split(r"[,|]", item)) for item in items]
        given = str(items)
    categories = [tuple(" ".join(name.split()) for name in category) for category in categories]
    for name in (name for category in categories for name in category if " / " in name):
        _warn_of_slash(name)
    blank = [index for index, category in enumerate(categories, start=1) if not all(category)]
    if blank:
        raise ValueError(
            f"The {what} {given} has blank names at position {', '.join(map(str, blank))}; remove the extra separators."
        )
    return categories


@cache
def _warn_of_slash(name: str) -> None:
    logger.warning(
        "%r is a single name: a slash is part of it. If these are synonyms, separate them by a bar: %r.",
        name,
        name.replace(" / ", "|"),
    )


def _separated_by_dots(names: str) -> bool:
    """Whether a string is of the form "cat . dog ." or "cat. dog."; "St. Bernard" is one category."""
    return not re.search(r"[,;]", names) and (" . " in names or names.rstrip().endswith("."))


def refuse_repeated(categories: Iterable[Sequence[str]], what: str) -> None:
    """Raise ValueError if two names of all categories are the same, ignoring letter case and spaces."""
    counts = Counter(fold(name) for category in categories for name in category)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f"The {what} has duplicates: {', '.join(map(repr, repeated))} (ignoring letter case and spaces); give each "
            "once."
        )


def near_match(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" with the closest known name, or "" if none is close."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _renamed_in(entries: Any) -> str:
    found = [name for name in RENAMED_FIELDS if isinstance(entries, Mapping) and name in entries]
    return "".join(f" {name!r} is now {RENAMED_FIELDS[name]!r}." for name in found)


def _check_characters(name: str) -> None:
    """Control characters can change a terminal or the order of text, and half characters cannot be written to files."""
    for character in name:
        if unicodedata.category(character) in ("Cc", "Cs") and not character.isspace() or character in _TEXT_ORDER:
            raise ValueError(f"The name {ascii(name):.80} has the character U+{ord(character):04X}, which is no text.")
    if name and all(unicodedata.category(character) in ("Cf", "Zs") for character in name) and not name.isspace():
        raise ValueError(f"The name {ascii(name):.80} has no visible character.")


def _check_templates(templates: str | tuple[str, ...]) -> None:
    if isinstance(templates, str):
        if templates and templates not in TEMPLATES:
            known = ", ".join(TEMPLATES)
            hint = near_match(templates, TEMPLATES)
            raise ValueError(f"No prompt templates named {templates!r}; known: {known}.{hint}")
        return
    if not templates:
        raise ValueError("The list of templates is empty; leave it out, or give at least '{}', the bare name.")
    wrong = [text for text in templates if not isinstance(text, str) or text.count("{}") != 1]
    if wrong:
        raise ValueError(f"A template has one {{}} for the category name, got {wrong[0]!r}.")
    refuse_repeated([(text,) for text in templates], "list of templates")


def _check_ensemble(ensemble: str) -> None:
    if ensemble != "" and ensemble not in ENSEMBLES:
        raise ValueError(f"ensemble must be one of {', '.join(ENSEMBLES)}; got {ensemble!r}.")


def _check_color(name: str, color: tuple | None) -> None:
    is_color = color is None or (
        len(color) == 3 and all(type(channel) is int and 0 <= channel <= 255 for channel in color)
    )
    if not is_color:
        raise ValueError(f"The color of {name!r} is {list(color or ())}; give red, green and blue, integers 0..255.")


def _split_synonyms(name: str) -> tuple[str, ...]:
    return tuple(synonym.strip() for synonym in name.split(",") if synonym.strip()) or (name,)


def _things_among(names: Sequence[str], things: Sequence[str], metadata: Any) -> list[bool]:
    thing_ids = getattr(metadata, "thing_dataset_id_to_contiguous_id", None)
    if thing_ids is None:
        return [name in set(things) for name in names]
    return [index in set(thing_ids.values()) for index in range(len(names))]
