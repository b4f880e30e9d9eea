"""Vocabularies of the datasets that a model is trained and evaluated on."""

from __future__ import annotations

from typing import Any

from detectron2.data import MetadataCatalog

from ..vocabulary import Vocabulary, resolve_vocabulary
from .protocols import ChecksVocabulary


def vocabulary_of(dataset_name: str, option: str = "") -> Vocabulary:
    """The categories of a dataset, from its metadata or by `option` (key MODEL.MASQCLIP.TEXT.VOCABULARY).

    Raises:
        FileNotFoundError: `option` is no style, shipped name or file.
        ValueError: the metadata has no vocabulary, or the number of categories differs from that of the ground truth;
            the vocabulary of `option` does not match the dataset.
    """
    metadata = MetadataCatalog.get(dataset_name)
    vocabulary = Vocabulary.from_metadata(metadata)
    ids = {
        contiguous
        for key in ("thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id")
        for contiguous in metadata.get(key, {}).values()
    }
    if ids and max(ids) + 1 != len(vocabulary):
        raise ValueError(
            f"The vocabulary of dataset {dataset_name!r} has {len(vocabulary)} names, but its ground truth has "
            f"{max(ids) + 1} categories; set one name per category, in contiguous order, in its metadata 'vocabulary'."
        )
    return resolve_vocabulary(vocabulary, option, dataset_name)


def training_vocabulary(cfg) -> Vocabulary:
    """The common vocabulary of the training sets, or that of MODEL.MASQCLIP.TEXT.VOCABULARY_TRAIN.

    Raises:
        FileNotFoundError, ValueError: see `vocabulary_of`.
        ValueError: the training sets have different vocabularies.
    """
    option = cfg.MODEL.MASQCLIP.TEXT.VOCABULARY_TRAIN
    first, *others = (vocabulary_of(name, option) for name in cfg.DATASETS.TRAIN)
    for name, other in zip(cfg.DATASETS.TRAIN[1:], others, strict=True):
        if other != first:
            raise ValueError(
                f"Training sets {cfg.DATASETS.TRAIN[0]!r} and {name!r} have different vocabularies; train on one of "
                "them, or register both with the same categories."
            )
    return first


def check_vocabularies(cfg, model: Any) -> None:
    """Check the categories of all training and test sets with a model, before the first step.

    Raises:
        ValueError: see `vocabulary_of`; or a category has too many words for the model. The message names the set.
    """
    if not isinstance(model, ChecksVocabulary):
        return
    text = cfg.MODEL.MASQCLIP.TEXT
    options = {name: text.VOCABULARY_TRAIN for name in cfg.DATASETS.TRAIN}
    for name, option in [*options.items(), *((name, text.VOCABULARY) for name in cfg.DATASETS.TEST)]:
        try:
            model.check_vocabulary(vocabulary_of(name, option))
        except ValueError as error:
            raise ValueError(f"Categories of {name}: {error}") from None
