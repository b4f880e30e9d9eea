"""Background prompts for any categories: the names of COCO and LVIS that mean none of them.

With few categories given, the best of them is the label of everything; the names of what else photographs show take
what is theirs. A name is left out if it and a category may mean the same:

- words of one are all among those of the other, in singular: "dining table" and "table", "dogs" and "pug-dog";
- they are synonyms in COCO, OpenSeg's list for COCO, or LVIS: "couch" and "sofa", "person" and "woman";
- the category is broader, by WordNet: "dalmatian" and "dog", "chair" and "furniture" (broader.json).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from ..categories.lists import category_list
from .shipped import shipped_vocabulary
from .vocabulary import Vocabulary, near_match

BACKGROUND_SOURCES = ("coco_lvis",)
"""Values of MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS, besides "" for none."""

_BROADER = Path(__file__).parent / "broader.json"
_NO_WORDS = frozenset(("a", "an", "the", "of", "on", "in", "for", "with", "and"))
_SINGULAR = {  # and words that mean the same here
    "apparel": "clothing", "children": "child", "clothes": "clothing", "feet": "foot", "geese": "goose",
    "halves": "half", "knives": "knife", "leaves": "leaf", "loaves": "loaf", "men": "man", "mice": "mouse",
    "people": "person", "scarves": "scarf", "shelves": "shelf", "teeth": "tooth", "vegetation": "plant",
    "wolves": "wolf", "women": "woman",
}  # fmt: skip

Words = frozenset[str]


@dataclass(frozen=True)
class _Candidate:
    """A background prompt, the words of it and its synonyms, and those of broader terms."""

    prompt: str
    names: tuple[Words, ...]
    broader: frozenset[Words]


def background_pool(source: str) -> tuple[str, ...]:
    """All background prompts of a source, one of `BACKGROUND_SOURCES`, before those for categories are left out."""
    return tuple(candidate.prompt for candidate in _candidates(source))


def with_background_prompts(vocabulary: Vocabulary, source: str) -> Vocabulary:
    """The vocabulary with the background prompts of a source, unless it has some of its own.

    Args:
        vocabulary: the categories.
        source: "": none; else one of `BACKGROUND_SOURCES`.

    Raises:
        ValueError: there is no such source.
    """
    return vocabulary if not source or vocabulary.background_prompts else _with_source(vocabulary, source)


@lru_cache(maxsize=8)  # half a second for a thousand categories, and asked for each image
def _with_source(vocabulary: Vocabulary, source: str) -> Vocabulary:
    of_categories = {_words(name) for names in (vocabulary.names, *vocabulary.synonyms) for name in names}
    prompts = [
        candidate.prompt
        for candidate in _candidates(source)
        if candidate.broader.isdisjoint(of_categories)
        and not any(own <= name or name <= own for own in of_categories for name in candidate.names)
    ]
    return replace(vocabulary, background_prompts=tuple(prompts))


@cache
def _candidates(source: str) -> tuple[_Candidate, ...]:
    if source not in BACKGROUND_SOURCES:
        raise ValueError(
            f"There are no background prompts {source!r}; known: {', '.join(BACKGROUND_SOURCES)}."
            f"{near_match(source, BACKGROUND_SOURCES)}"
        )
    content = json.loads(_BROADER.read_text(encoding="utf-8"))
    terms = [_words(term) for term in content["words"]]
    coco = [row.natural_name for row in category_list("coco_panoptic")]
    synonyms_of = dict(zip(coco, shipped_vocabulary("coco_panoptic", "openseg").synonyms, strict=True))
    for row in category_list("lvis_v1"):
        synonyms_of[row.name] = (*synonyms_of.get(row.name, ()), *row.synonyms)
    found = []
    for prompt, synonyms in synonyms_of.items():
        names = tuple(dict.fromkeys(_words(name) for name in (prompt, *synonyms)))
        broader = frozenset(terms[index] for index in content["broader"].get(prompt, ()))
        found.append(_Candidate(prompt, names, broader))
    return tuple(found)


@cache
def _words(name: str) -> Words:
    """Words of a name in lower case and singular, without articles, prepositions and explanations in parentheses."""
    parts = re.split(r"[\W_]+", re.sub(r"\(.*?\)", " ", name.casefold()) or name.casefold())
    words = frozenset(_singular(part) for part in parts if part)
    return words - _NO_WORDS or words or frozenset((name,))


def _singular(word: str) -> str:
    if word in _SINGULAR:
        return _SINGULAR[word]
    if len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes", "oes")):
        return word[:-2]
    return word.removesuffix("s")
