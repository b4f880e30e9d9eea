"""Strict loading of state dicts: every missing, unexpected or wrongly shaped name must be allowed by a pattern."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from .sources import OWN, Source, rename, source_of

_SHOWN = 6  # names listed per kind of mismatch


@dataclass(frozen=True)
class KeyMatch:
    """Assignment of the names of a file to those of a model.

    Args:
        source: name of the recognized source.
        tensors: tensors to load, under the model's names.
        renamed: name in the file -> name in the model, for loaded tensors whose names differ.
        left_out: names of ignored tensors, all allowed.
        missing: names of the model that the file lacks, all allowed.
    """

    source: str
    tensors: dict[str, Tensor]
    renamed: dict[str, str]
    left_out: tuple[str, ...]
    missing: tuple[str, ...] = ()


def load_strict(model: nn.Module, state_dict: dict[str, Tensor], path: str, allow_missing: Iterable[str] = ()) -> None:
    """Load `state_dict` into `model`; missing, unexpected and wrongly shaped names must be allowed.

    Args:
        model: receives the weights.
        state_dict: name -> tensor, with the names of any of `sources.SOURCES` or of the model itself.
        path: of the weights, for messages.
        allow_missing: regular expressions, matched at the beginning, for names of the model that may be missing, in
            addition to those of the source; for example parts that are loaded from elsewhere.

    Raises:
        ValueError: names or shapes do not match; the message lists them with a hint.
    """
    match = match_keys(model, state_dict, path, allow_missing)
    model.load_state_dict(match.tensors, strict=False)
    logging.getLogger(__name__).info(
        "Loaded %d of %d tensors from %s (%s).",
        len(match.tensors),
        len(match.tensors) + len(match.missing),
        path,
        match.source,
    )


def match_keys(
    model: nn.Module, state_dict: dict[str, Tensor], path: str, allow_missing: Iterable[str] = ()
) -> KeyMatch:
    """Like `load_strict`, without changing the model, which may be on the meta device."""
    own = model.state_dict(keep_vars=True)
    source, names = _model_names(state_dict, own)
    allow_missing = (*source.allow_missing, *allow_missing)
    allow_unexpected = (*source.allow_unexpected, *getattr(model, "allow_unexpected", ()))
    renamed = {target: state_dict[name] for name, target in names.items()}
    missing = [name for name in own if name not in renamed]
    left = [name for name in renamed if name not in own]
    # A buffer that the configuration sets may have another shape in the file; it keeps its value.
    misshapen = [name for name in renamed if name in own and renamed[name].shape != own[name].shape]
    wrong = [
        [name for name in found if not matches(name, expected)]
        for found, expected in ((misshapen, allow_missing), (missing, allow_missing), (left, allow_unexpected))
    ]
    if any(wrong):
        raise ValueError(_mismatch(path, source.name, model, own, renamed, *wrong))
    return _key_match(source, state_dict, names, left_out=(*left, *misshapen), missing=(*missing, *misshapen))


def match_keys_without_model(state_dict: dict[str, Tensor]) -> KeyMatch:
    """Like `match_keys`, as far as that is possible without a model."""
    source, names = _model_names(state_dict)
    left_out = (
        () if source is OWN else [target for target in names.values() if matches(target, source.allow_unexpected)]
    )
    return _key_match(source, state_dict, names, left_out)


def _model_names(
    state_dict: dict[str, Tensor], model_names: Iterable[str] | None = None
) -> tuple[Source, dict[str, str]]:
    """Source of a file, and {name in the file: name in the model}; without a model, that of the file's names."""
    plain = {name: name for name in state_dict}
    if state_dict and all(name.startswith("module.") for name in state_dict):  # saved from inside DDP
        plain = {name: name.removeprefix("module.") for name in state_dict}
    source = source_of(plain.values(), plain.values() if model_names is None else model_names)
    return source, {name: rename(shorter, source) for name, shorter in plain.items()}


def _key_match(
    source: Source,
    state_dict: dict[str, Tensor],
    names: dict[str, str],
    left_out: Iterable[str],
    missing: Iterable[str] = (),
) -> KeyMatch:
    left_out = set(left_out)
    taken = {name: target for name, target in names.items() if target not in left_out}
    return KeyMatch(
        source=source.name,
        tensors={target: state_dict[name] for name, target in taken.items()},
        renamed={name: target for name, target in taken.items() if target != name},
        left_out=tuple(sorted(left_out)),
        missing=tuple(missing),
    )


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the regular expressions matches the beginning of `name`."""
    return any(re.match(pattern, name) for pattern in patterns)


def _mismatch(path, source_name, model, own, renamed, misshapen, missing, left) -> str:
    parts = []
    if misshapen:
        shown = [f"{n} {tuple(renamed[n].shape)} instead of {tuple(own[n].shape)}" for n in misshapen[:_SHOWN]]
        parts.append(f"{len(misshapen)} wrongly shaped: {', '.join(shown)}{_more(misshapen)}")
    if missing:
        parts.append(f"{len(missing)} missing: {', '.join(missing[:_SHOWN])}{_more(missing)}")
    if left:
        parts.append(f"{len(left)} unexpected: {', '.join(left[:_SHOWN])}{_more(left)}")
    return (
        f"Weights {path} (taken as {source_name}) do not fit {type(model).__name__}, which has {len(own)} tensors: "
        f"{'; '.join(parts)}. Use the config that the weights were trained with, or other weights."
    )


def _more(names: list[str]) -> str:
    return f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
