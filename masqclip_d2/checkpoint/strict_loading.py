"""Loading a state dict so that every name is accounted for."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from .sources import OWN, Source, rename, source_of

_SHOWN = 6  # names listed per kind of disagreement


@dataclass(frozen=True)
class KeyMatch:
    """What becomes of every name of a file, and of the model that it is for.

    Args:
        source: what the file was taken as.
        tensors: in our names; the model has them in these shapes.
        renamed: name in the file -> ours, where the two differ and the tensor is taken.
        left_out: our names of tensors that are not taken, as the source expects.
        missing: names of the model that the file does not have, as the source or the caller expects.
    """

    source: str
    tensors: dict[str, Tensor]
    renamed: dict[str, str]
    left_out: tuple[str, ...]
    missing: tuple[str, ...] = ()


def load_strict(model: nn.Module, state_dict: dict[str, Tensor], path: str, allow_missing: Iterable[str] = ()) -> None:
    """Load `state_dict` into `model`; every missing, left-over or wrongly shaped name is expected or an error.

    Args:
        model: receives the numbers.
        state_dict: name -> tensor, under the names of any entry of `sources.SOURCES` or the model's own.
        path: where the numbers came from, for messages.
        allow_missing: regular expressions (matched at the beginning) for names of the model that may be missing
            besides those that the source itself may miss, e.g. parts that were loaded from elsewhere.

    Raises:
        ValueError: names or shapes disagree; the message lists them and names the remedy.
    """
    accounted = match_keys(model, state_dict, path, allow_missing)
    model.load_state_dict(accounted.tensors, strict=False)
    logging.getLogger(__name__).info(
        "Loaded %d of %d tensors from %s (%s).",
        len(accounted.tensors),
        len(accounted.tensors) + len(accounted.missing),
        path,
        accounted.source,
    )


def match_keys(
    model: nn.Module, state_dict: dict[str, Tensor], path: str, allow_missing: Iterable[str] = ()
) -> KeyMatch:
    """As `load_strict`, but the model stays as it is; it may lie on the meta device."""
    own = model.state_dict(keep_vars=True)
    source, names = _our_names(state_dict, own)
    allow_missing = (*source.allow_missing, *allow_missing)
    allow_unexpected = (*source.allow_unexpected, *getattr(model, "allow_unexpected", ()))
    renamed = {ours: state_dict[name] for name, ours in names.items()}
    missing = [name for name in own if name not in renamed]
    left = [name for name in renamed if name not in own]
    # A buffer that the config decides may have another size; it keeps the config's.
    misshapen = [name for name in renamed if name in own and renamed[name].shape != own[name].shape]
    wrong = [
        [name for name in found if not matches(name, expected)]
        for found, expected in ((misshapen, allow_missing), (missing, allow_missing), (left, allow_unexpected))
    ]
    if any(wrong):
        raise ValueError(_disagreement(path, source.name, model, own, renamed, *wrong))
    return _accounted(source, state_dict, names, left_out=(*left, *misshapen), missing=(*missing, *misshapen))


def match_keys_without_model(state_dict: dict[str, Tensor]) -> KeyMatch:
    """As `match_keys`, as far as names tell without a model."""
    source, names = _our_names(state_dict)
    left_out = () if source is OWN else [ours for ours in names.values() if matches(ours, source.allow_unexpected)]
    return _accounted(source, state_dict, names, left_out)


def _our_names(
    state_dict: dict[str, Tensor], model_names: Iterable[str] | None = None
) -> tuple[Source, dict[str, str]]:
    """Where a file comes from, and its names -> ours; without a model, one that may have the file's names."""
    plain = {name: name for name in state_dict}
    if state_dict and all(name.startswith("module.") for name in state_dict):  # saved from inside DDP
        plain = {name: name.removeprefix("module.") for name in state_dict}
    source = source_of(plain.values(), plain.values() if model_names is None else model_names)
    return source, {name: rename(shorter, source) for name, shorter in plain.items()}


def _accounted(
    source: Source,
    state_dict: dict[str, Tensor],
    names: dict[str, str],
    left_out: Iterable[str],
    missing: Iterable[str] = (),
) -> KeyMatch:
    left_out = set(left_out)
    taken = {name: ours for name, ours in names.items() if ours not in left_out}
    return KeyMatch(
        source=source.name,
        tensors={ours: state_dict[name] for name, ours in taken.items()},
        renamed={name: ours for name, ours in taken.items() if ours != name},
        left_out=tuple(sorted(left_out)),
        missing=tuple(missing),
    )


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of some regular expressions fits the beginning of a name."""
    return any(re.match(pattern, name) for pattern in patterns)


def _disagreement(path, source_name, model, own, renamed, misshapen, missing, left) -> str:
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
