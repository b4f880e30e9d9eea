"""Loading a state dict so that every name is accounted for."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from torch import Tensor, nn

from .sources import rename, source_of

_SHOWN = 6  # names listed per kind of disagreement


def load_accounted(model: nn.Module, state_dict: dict[str, Tensor], path: str, may_miss: Iterable[str] = ()) -> None:
    """Load `state_dict` into `model`; every missing, left-over or wrongly shaped name is expected or an error.

    Args:
        model: receives the numbers.
        state_dict: name -> tensor, under the names of any entry of `sources.SOURCES` or the model's own.
        path: where the numbers came from, for messages.
        may_miss: regular expressions (matched at the beginning) for names of the model that may be missing
            besides those that the source itself may miss, e.g. parts that were loaded from elsewhere.

    Raises:
        ValueError: names or shapes disagree; the message lists them and names the remedy.
    """
    own = model.state_dict(keep_vars=True)
    if state_dict and all(name.startswith("module.") for name in state_dict):  # saved from inside DDP
        state_dict = {name.removeprefix("module."): value for name, value in state_dict.items()}
    source = source_of(state_dict, own)
    renamed = {rename(name, source): value for name, value in state_dict.items()}

    may_miss = (*source.may_miss, *may_miss)
    missing = [name for name in own if name not in renamed and not _matches(name, may_miss)]
    left = [name for name in renamed if name not in own and not _matches(name, source.may_leave)]
    common = {name: value for name, value in renamed.items() if name in own}
    # A buffer that the config decides may have another size; it keeps the config's.
    misshapen = [name for name in common if common[name].shape != own[name].shape]
    fatal = [name for name in misshapen if not _matches(name, may_miss)]
    if missing or left or fatal:
        raise ValueError(_disagreement(path, source.name, model, own, common, missing, left, fatal))
    model.load_state_dict({name: value for name, value in common.items() if name not in misshapen}, strict=False)
    logging.getLogger(__name__).info(
        "Loaded %d of %d tensors from %s (%s).", len(common) - len(misshapen), len(own), path, source.name
    )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.match(pattern, name) for pattern in patterns)


def _disagreement(path, source_name, model, own, common, missing, left, misshapen) -> str:
    parts = []
    if misshapen:
        shown = [f"{n} {tuple(common[n].shape)} instead of {tuple(own[n].shape)}" for n in misshapen[:_SHOWN]]
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
