"""Checks of the arguments of `Predictor`: each wrong one is an error of one sentence, before networks run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor

from .structures import EncodedImage, MaskProposals


def checked_share(name: str, value: Any) -> float:
    """A number in [0, 1].

    Args:
        name: of the argument.
        value: a number, or a tensor or array of one number.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN, or out of range.
    """
    share: Any = value.item() if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0 else value
    if not issubclass(type(share), Real):
        raise TypeError(f"{name} is {value!r:.80} of type {type(value).__name__}; expected a number in [0, 1].")
    if not 0 <= share <= 1:  # NaN too
        raise ValueError(f"{name} must lie in [0, 1], got {value}.")
    return float(share)


def checked_count(name: str, value: Any) -> int:
    """A whole number from 1 on.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is less than 1.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.80} of type {type(value).__name__}; expected a whole number.")
    if value < 1:
        raise ValueError(f"{name} is {value}; expected at least 1.")
    return int(value)


def checked_background(prompts: Any) -> str | tuple[Any, ...]:
    """Background prompts: the name of a source, or texts, which the vocabulary checks.

    Raises:
        TypeError: they are neither.
    """
    if isinstance(prompts, str):
        return prompts
    if isinstance(prompts, (bytes, Mapping)) or not isinstance(prompts, Iterable):
        raise TypeError(
            f"background_prompts is of type {type(prompts).__name__}; expected a list of texts, the name of a source "
            "('coco_lvis'), or None."
        )
    return tuple(prompts)


def require_encoded(encoded: Any, embedding_dim: int | None = None) -> None:
    """Check the result of `Predictor.encode`, whose parts may have been replaced.

    Args:
        encoded: the result.
        embedding_dim: E of the model; None: not checked.

    Raises:
        TypeError: it is something else.
        ValueError: its parts do not fit together.
    """
    if not isinstance(encoded, EncodedImage):
        raise TypeError(f"encoded is of type {type(encoded).__name__}; expected the result of Predictor.encode(image).")
    if fault := _fault(encoded, embedding_dim):
        raise ValueError(f"The encoded image is damaged: {fault}; pass the result of Predictor.encode(image) as it is.")


def _fault(encoded: EncodedImage, embedding_dim: int | None) -> str:
    """What is wrong with the parts of an encoded image; "" if nothing is."""
    embeddings, proposals, size = encoded.mask_embeddings, encoded.proposals, encoded.output_hw
    if not isinstance(proposals, MaskProposals):
        return f"proposals is of type {type(proposals).__name__}"
    masks, scores = proposals.mask_logits, proposals.object_scores
    for name, value, dims in (
        ("mask_embeddings", embeddings, 2),
        ("mask_logits", masks, 3),
        ("object_scores", scores, 1),
    ):
        if not isinstance(value, Tensor) or value.ndim != dims or not value.is_floating_point():
            what = f"is a {type(value).__name__}"
            if isinstance(value, Tensor):
                what = f"has shape {tuple(value.shape)} and is of dtype {value.dtype}"
            return f"{name} {what}, expected a float tensor of {dims} dimensions"
    if not len(embeddings) == len(masks) == len(scores):
        return f"it has {len(embeddings)} mask_embeddings, {len(masks)} masks and {len(scores)} object_scores"
    if embedding_dim is not None and embeddings.shape[1] != embedding_dim:
        return f"its mask_embeddings have {embeddings.shape[1]} values, those of this model have {embedding_dim}"
    if (
        not isinstance(size, tuple)
        or len(size) != 2
        or not all(isinstance(side, Integral) and side > 0 for side in size)
    ):
        return f"output_hw is {size!r:.80}"
    if encoded.image is not None and (not isinstance(encoded.image, np.ndarray) or encoded.image.shape != (*size, 3)):
        return f"its image is no array of shape {(*size, 3)}"
    return ""
