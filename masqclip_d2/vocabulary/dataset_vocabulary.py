"""Which words a dataset is trained or evaluated with: its own, another form of them, or a user's that fit it."""

from __future__ import annotations

import logging
from dataclasses import replace

from .shipped import STYLES, in_style
from .vocabulary import Vocabulary, fold

logger = logging.getLogger(__name__)


def resolve_vocabulary(own: Vocabulary, chosen: str, dataset: str) -> Vocabulary:
    """The words that a dataset is trained or evaluated with.

    Args:
        own: the dataset's.
        chosen: "" for these, one of `STYLES`, or a file or shipped name (`Vocabulary.load`) for this number of
            categories in this order.
        dataset: its name.

    Returns:
        A vocabulary with the things and groups of `own`, since the ground truth has them.

    Raises:
        FileNotFoundError: there is no such form, name or file.
        ValueError: the file is no vocabulary, or its categories do not fit the dataset.
    """
    if not chosen:
        return own
    if chosen in STYLES:
        try:
            words = in_style(own, chosen)
        except ValueError as error:
            raise ValueError(f"Dataset {dataset!r}: {error}") from error
    else:
        words = Vocabulary.load(chosen)
        _check_fits(own, words, chosen, dataset)
        words = replace(words, is_thing=own.is_thing, groups=own.groups)
    logger.info(
        "%s: words of %r, templates %s, %s of synonyms", dataset, chosen,
        words.templates or "of the model", words.ensemble or "the model's form",
    )  # fmt: skip
    return words


def check_vocabulary_option(chosen: str) -> None:
    """Whether `resolve_vocabulary` would find `chosen`, whatever the dataset.

    Raises:
        FileNotFoundError, ValueError: as there.
    """
    if chosen and chosen not in STYLES:
        Vocabulary.load(chosen)


def _check_fits(own: Vocabulary, words: Vocabulary, chosen: str, dataset: str) -> None:
    """The same number of categories, none of which has the name of another one's place.

    Other names are the user's affair: "tree" for "tree-merged".
    """
    if len(words) != len(own):
        raise ValueError(
            f"Vocabulary {chosen!r} has {len(words)} categories, but dataset {dataset!r} has {len(own)}; give one for "
            "each, in its order."
        )
    index_of = {fold(name): index for index, name in enumerate(own.names)}
    for index, name in enumerate(words.names):
        own_words = {fold(own.names[index]), *map(fold, own.synonyms[index])}
        place = index_of.get(fold(name), index)
        if place != index and fold(name) not in own_words:
            raise ValueError(
                f"Vocabulary {chosen!r} has {name!r} as category {index}, but in dataset {dataset!r} that is category "
                f"{place} (counted from 0), and {index} is {own.names[index]!r}; put them in the dataset's order."
            )
