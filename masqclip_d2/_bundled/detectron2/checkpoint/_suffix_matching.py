"""Matching of checkpoint keys by suffix, for example of a backbone's weights to a whole model."""

from __future__ import annotations

import logging

from torch import Tensor

_logger = logging.getLogger(__name__)


def match_by_suffix(model_state: dict[str, Tensor], checkpoint_state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a checkpoint to those of a model.

    A model key matches the longest checkpoint key that equals it or is its suffix after a dot:
    "backbone.stem.conv1.weight" matches "stem.conv1.weight". A pair of different shapes is skipped with a warning.

    Returns:
        The checkpoint under the model's keys; unmatched keys stay unchanged.

    Raises:
        ValueError: a checkpoint key matches two model keys.
    """
    renamed: dict[str, Tensor] = {}
    taken_by: dict[str, str] = {}
    for model_key, model_value in model_state.items():
        key = _longest_suffix(model_key, checkpoint_state)
        if key is None:
            continue
        if checkpoint_state[key].shape != model_value.shape:
            _logger.warning(
                "Skipped %s: shape %s in the checkpoint, %s in the model (%s).",
                key,
                tuple(checkpoint_state[key].shape),
                tuple(model_value.shape),
                model_key,
            )
            continue
        if key in taken_by:
            raise ValueError(
                f"{key!r} of the checkpoint matches both {taken_by[key]!r} and {model_key!r} of the model; rename the "
                "keys of the checkpoint and load it without matching_heuristics."
            )
        taken_by[key] = model_key
        renamed[model_key] = checkpoint_state[key]
    _logger.info("Matched %d of %d keys of the model by suffix.", len(renamed), len(model_state))
    leftover = {key: value for key, value in checkpoint_state.items() if key not in taken_by}
    return {**leftover, **renamed}


def _longest_suffix(model_key: str, checkpoint_state: dict[str, Tensor]) -> str | None:
    parts = model_key.split(".")
    candidates = (".".join(parts[start:]) for start in range(len(parts)))
    return next((key for key in candidates if key in checkpoint_state), None)
