"""Strict loading of state dicts: every missing, unexpected or wrongly shaped name must be allowed by a pattern."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from .sources import OWN, PROPOSER_OF_MODEL, Source, rename, source_of

_SHOWN = 6  # names listed per kind of mismatch
# What DDP, torch.compile and the modules of PyTorch Lightning put before the names of a model.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "network.")
# Sizes that modules note beside their parameters.
_NOTED_SIZES = ("out_features", "out_channels", "num_embeddings")


@dataclass(frozen=True)
class KeyMatch:
    """Assignment of the names of a file to those of a model.

    Args:
        source: name of the recognized source.
        tensors: tensors to load, under the model's names.
        renamed: name in the file -> name in the model, for loaded tensors whose names differ.
        left_out: names of ignored tensors, all allowed.
        missing: names of the model that the file lacks, all allowed.
        resized: names of parameters of the model whose number of rows becomes that of the file.
    """

    source: str
    tensors: dict[str, Tensor]
    renamed: dict[str, str]
    left_out: tuple[str, ...]
    missing: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()


def load_strict(
    model: nn.Module,
    state_dict: dict[str, Tensor],
    path: str,
    allow_missing: Iterable[str] = (),
    starts_training: bool = False,
) -> None:
    """Load `state_dict` into `model`; missing, unexpected and wrongly shaped names must be allowed.

    Args:
        model: receives the weights. Its attribute `sized_by_weights`, regular expressions, names parameters that take
            their number of rows (their first size, such as the number of classes) from the file.
        state_dict: name -> tensor, with the names of any of `sources.SOURCES` or of the model itself.
        path: of the weights, for messages.
        allow_missing: regular expressions, matched at the beginning, for names of the model that may be missing, in
            addition to those of the source; for example parts that are loaded from elsewhere.
        starts_training: parameters that are trained keep their sizes, which losses rely on.

    Raises:
        ValueError: names or shapes do not match; the message lists them with a hint.
    """
    match = match_keys(model, state_dict, path, allow_missing, starts_training)
    for name in match.resized:
        _set_number_of_rows(model, name, len(match.tensors[name]))
    model.load_state_dict(match.tensors, strict=False)
    logging.getLogger(__name__).info(
        "Loaded %d of %d tensors from %s (%s).%s",
        len(match.tensors),
        len(match.tensors) + len(match.missing),
        path,
        match.source,
        _where_others_are_from(match.missing, getattr(model, "allow_missing", ())),
    )


def _where_others_are_from(missing: Iterable[str], loaded_elsewhere: Iterable[str]) -> str:
    """Sentences about the tensors that a file lacks."""
    loaded = [name for name in missing if matches(name, loaded_elsewhere)]
    initial = [name for name in missing if name not in loaded]
    clip = sum(not name.startswith("proposer.") for name in loaded)
    kinds = (
        (clip, "are CLIP's, from MODEL.MASQCLIP.CLIP.NAME"),
        (len(loaded) - clip, "are the proposer's, from its own weights"),
        (len(initial), f"keep their initial values ({', '.join(_modules_of(initial))})"),
    )
    parts = [f"{number} {text}" for number, text in kinds if number]
    return f" Of the others {'; '.join(parts)}." if parts else ""


def _modules_of(names: Iterable[str]) -> list[str]:
    """The first two parts of names, each once, at most `_SHOWN`."""
    modules = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))
    return [*modules[:_SHOWN], *(["..."] if len(modules) > _SHOWN else [])]


def match_keys(
    model: nn.Module,
    state_dict: dict[str, Tensor],
    path: str,
    allow_missing: Iterable[str] = (),
    starts_training: bool = False,
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
    flexible = getattr(model, "sized_by_weights", ())
    resized = [
        name
        for name in misshapen
        if matches(name, flexible)
        and renamed[name].shape[1:] == own[name].shape[1:]
        and not (starts_training and own[name].requires_grad)
    ]
    misshapen = [name for name in misshapen if name not in resized]
    wrong = [
        [name for name in found if not matches(name, expected)]
        for found, expected in ((misshapen, allow_missing), (missing, allow_missing), (left, allow_unexpected))
    ]
    if any(wrong):
        raise ValueError(_mismatch(path, source.name, model, own, renamed, *wrong))
    left_out, missing = (*left, *misshapen), (*missing, *misshapen)
    return _key_match(source, state_dict, names, left_out, missing, resized)


def _set_number_of_rows(model: nn.Module, name: str, rows: int) -> None:
    """Replace a parameter by one with another first size, without values."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    old: nn.Parameter = getattr(module, leaf)
    setattr(module, leaf, nn.Parameter(old.new_empty(rows, *old.shape[1:]), requires_grad=old.requires_grad))
    for size in _NOTED_SIZES:
        if hasattr(module, size):
            setattr(module, size, rows)


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
    plain = _without_wrappers(state_dict, () if model_names is None else model_names)
    source = source_of(plain.values(), plain.values() if model_names is None else model_names)
    return source, {name: rename(shorter, source) for name, shorter in plain.items()}


def _without_wrappers(file_names: Iterable[str], model_names: Iterable[str]) -> dict[str, str]:
    """{name in the file: the same without the prefixes of wrappers}; losses may stand outside of a wrapper."""
    plain = {name: name for name in file_names}
    names = [name.removeprefix("proposer.") for name in model_names]
    own = tuple(prefix for prefix in _WRAPPERS if any(name.startswith(prefix) for name in names))
    while True:
        wrapped = [name for name in plain.values() if not name.startswith("criterion.")]
        found = (one for one in _WRAPPERS if one not in own and all(name.startswith(one) for name in wrapped))
        prefix = next(found, None) if wrapped else None
        if prefix is None:
            return plain
        plain = {name: shorter.removeprefix(prefix) for name, shorter in plain.items()}


def _key_match(
    source: Source,
    state_dict: dict[str, Tensor],
    names: dict[str, str],
    left_out: Iterable[str],
    missing: Iterable[str] = (),
    resized: Iterable[str] = (),
) -> KeyMatch:
    left_out = set(left_out)
    taken = {name: target for name, target in names.items() if target not in left_out}
    return KeyMatch(
        source=source.name,
        tensors={target: state_dict[name] for name, target in taken.items()},
        renamed={name: target for name, target in taken.items() if target != name},
        left_out=tuple(sorted(left_out)),
        missing=tuple(missing),
        resized=tuple(resized),
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
    hint = "Use the config that the weights were trained with, or other weights."
    if source_name.endswith(("proposer of another model", PROPOSER_OF_MODEL.name)) and not misshapen and not left:
        hint = f"They have the proposer only: train {type(model).__name__} from them, then evaluate the result."
    return (
        f"Weights {path} (taken as {source_name}) do not fit {type(model).__name__}, which has {len(own)} tensors: "
        f"{'; '.join(parts)}. {hint}"
    )


def _more(names: list[str]) -> str:
    return f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
