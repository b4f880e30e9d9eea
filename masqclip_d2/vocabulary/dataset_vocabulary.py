"""Vocabulary of a dataset in training or evaluation: its own, another style of it, or a user's that matches it."""

from __future__ import annotations

import logging
from dataclasses import replace

from .io import load_vocabulary
from .shipped import STYLES, in_style
from .vocabulary import Vocabulary, fold

logger = logging.getLogger(__name__)


def resolve_vocabulary(own: Vocabulary, option: str, dataset: str) -> Vocabulary:
    """Return the vocabulary that a dataset is trained or evaluated with.

    Args:
        own: the dataset's vocabulary.
        option: "" for `own`, one of `STYLES`, or a file or shipped name (`load_vocabulary`) with the same number of
            categories in the same order.
        dataset: name of the dataset.

    Returns:
        A vocabulary with the things and groups of `own`, which match the ground truth.

    Raises:
        FileNotFoundError: unknown style, shipped name or file.
        ValueError: the file is no valid vocabulary, or its categories do not match the dataset.
    """
    if not option:
        return own
    if option in STYLES:
        try:
            vocabulary = in_style(own, option)
        except ValueError as error:
            raise ValueError(f"Dataset {dataset!r}: {error}") from error
    else:
        vocabulary = load_vocabulary(option)
        _check_matches(own, vocabulary, option, dataset)
        vocabulary = replace(vocabulary, is_thing=own.is_thing, groups=own.groups)
    logger.info(
        "%s: vocabulary %r, templates %s, ensemble %s", dataset, option,
        vocabulary.templates or "of the model", vocabulary.ensemble or "of the model",
    )  # fmt: skip
    return vocabulary


def check_vocabulary_option(option: str) -> None:
    """Raise an error if `resolve_vocabulary` would refuse `option` for any dataset.

    Raises:
        FileNotFoundError, ValueError: see `resolve_vocabulary`.
    """
    if option and option not in STYLES:
        load_vocabulary(option)


def _check_matches(own: Vocabulary, vocabulary: Vocabulary, option: str, dataset: str) -> None:
    """Require the same number of categories, none with the name of a category at another position.

    Other names are allowed: "tree" for "tree-merged".
    """
    if len(vocabulary) != len(own):
        raise ValueError(
            f"Vocabulary {option!r} has {len(vocabulary)} categories, but dataset {dataset!r} has {len(own)}; give one "
            "for each, in its order."
        )
    index_of = {fold(name): index for index, name in enumerate(own.names)}
    for index, name in enumerate(vocabulary.names):
        own_names = {fold(own.names[index]), *map(fold, own.synonyms[index])}
        own_index = index_of.get(fold(name), index)
        if own_index != index and fold(name) not in own_names:
            raise ValueError(
                f"Vocabulary {option!r} has {name!r} as category {index}, but in dataset {dataset!r} that is category "
                f"{own_index} (counted from 0), and {index} is {own.names[index]!r}; use the dataset's order."
            )
