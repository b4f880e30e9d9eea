"""Conversion of the weights of a model to safetensors: own parameter names, own dtype, every name reported."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from .reading import local_weights_path, read_checkpoint
from .strict_loading import KeyMatch, match_keys, match_keys_without_model, matches
from .writing import write_safetensors


def convert_weights(
    weights: str, output: Path, model: nn.Module | None = None, *, half: bool = False, without_clip: bool = False
) -> str:
    """Write weights of any supported source as safetensors.

    Args:
        weights: a file, URL or name that MODEL.WEIGHTS takes.
        output: the new file, written atomically.
        model: the weights must fit it; may be on the meta device. None: parameter names are translated without one.
        half: write floating-point tensors as float16.
        without_clip: leave out the weights that MODEL.MASQCLIP.CLIP.NAME loads; needs `model`.

    Returns:
        What was done with each name, a few lines of text.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: the weights cannot be read, are no checkpoint, or do not fit the model.
    """
    checkpoint = read_checkpoint(local_weights_path(weights))
    match = _match(checkpoint.pop("model"), weights, model, without_clip)
    tensors = halved(match.tensors) if half else match.tensors
    write_safetensors(output, tensors)
    return "\n".join([*_report(match, checkpoint), written(output, len(tensors))])


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as float16; models convert them back to float32."""
    return {name: some.half() if some.is_floating_point() else some for name, some in tensors.items()}


def written(output: Path, count: int) -> str:
    """The last line of a report: file, number of tensors, size."""
    return f"wrote {output}: {count} tensors, {output.stat().st_size / 2**20:.1f} MiB"


def _match(tensors: dict[str, Tensor], weights: str, model: nn.Module | None, without_clip: bool) -> KeyMatch:
    """`tensors` under own names, such that MODEL.WEIGHTS accepts the result where it accepts `tensors`."""
    if model is None:
        match = match_keys_without_model(tensors)
    else:
        match = match_keys(model, tensors, weights, getattr(model, "allow_missing", ()))
        if without_clip:
            match = _without_clip(match, model)
    if all(name.startswith("backbone.") for name in match.tensors):
        raise ValueError(
            f"{weights} is an {match.source}, the start of a training; MODEL.WEIGHTS reads it directly, so there is "
            "nothing to convert."
        )
    if model is not None:
        try:
            match_keys(model, match.tensors, weights, getattr(model, "allow_missing", ()))
        except ValueError as error:
            raise ValueError(
                f"{weights} ({match.source}) lacks what the converted file must have: {error} The missing parts may "
                "come with MODEL.MASQCLIP.CLIP.NAME."
            ) from error
    return match


def _without_clip(match: KeyMatch, model: nn.Module) -> KeyMatch:
    left_out = clip_names(model, match.tensors)
    return replace(
        match,
        tensors={name: tensor for name, tensor in match.tensors.items() if name not in left_out},
        left_out=(*match.left_out, *sorted(left_out)),
    )


def clip_names(model: nn.Module, names: Iterable[str]) -> set[str]:
    """Those of a model's parameter names that MODEL.MASQCLIP.CLIP.NAME loads."""
    clip, trained = getattr(model, "allow_missing", ()), getattr(model, "trained_names", ())
    return {name for name in names if matches(name, clip) and not matches(name, trained)}


def _report(match: KeyMatch, rest: Iterable[str]) -> list[str]:
    lines = [f"read as {match.source}"]
    renamed = Counter((_pattern(name), _pattern(ours)) for name, ours in match.renamed.items())
    lines += [f"  renamed: {name} -> {ours} ({count})" for (name, ours), count in renamed.items()]
    for outcome, names in (
        ("left out, as expected", match.left_out),
        ("not in the file, as expected", match.missing),
    ):
        lines += [f"  {outcome}: {name} ({count})" for name, count in Counter(map(_pattern, names)).items()]
    lines += [f"  left out, not part of the model: {name}" for name in rest]
    return lines


def _pattern(name: str) -> str:
    """A name without numbers, so that all layers share a line."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name)
