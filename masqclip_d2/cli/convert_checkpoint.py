"""The command `tools/convert_checkpoint.py` (installed: `masqclip-convert-checkpoint`): any weights -> safetensors.

Reads what MODEL.WEIGHTS reads, and CLIPs, which MODEL.MASQCLIP.CLIP.NAME reads; writes the tensors under our names,
in their own dtype (a CLIP: float32), and says what became of every name. The weights that ship were made with --half
and --without-clip.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from ..checkpoint import local_weights_path, match_keys, match_keys_without_model, read_checkpoint, write_safetensors
from ..checkpoint.strict_loading import KeyMatch, matches
from ..clip.model import load_clip, save_clip
from ..clip.pretrained import OPEN_CLIP_PREFIX, OPENAI_MODELS, is_torchscript
from ..config import load_config
from ..meta_arch.build import clip_from_config
from .command import command

_EPILOG = """examples:
  convert_checkpoint.py maskclip.pth maskclip.safetensors --config-file maskclip_r50
  convert_checkpoint.py ViT-L-14-336px.pt clip.safetensors
With --config-file every name of the file and of that configuration's model is accounted for: one that is missing,
unexpected or wrongly shaped is an error, unless a pattern of checkpoint/sources.py expects it. Without, names are
translated as far as they tell by themselves.
"""
# Names that only a CLIP with both towers has.
_CLIP_NAMES = {"visual.conv1.weight", "token_embedding.weight"}


def convert_checkpoint(
    weights: str,
    output: str | Path,
    config: str | None = None,
    opts: Iterable[str] = (),
    *,
    overwrite: bool = False,
    half: bool = False,
    without_clip: bool = False,
) -> str:
    """Write weights of any supported source as safetensors.

    Args:
        weights: a file, URL or name that MODEL.WEIGHTS or MODEL.MASQCLIP.CLIP.NAME takes.
        output: the new file; ends in .safetensors. Written whole or not at all.
        config: a YAML file or shipped name; the weights must fit its model. None: names alone are looked at.
        opts: KEY VALUE words for `config`.
        overwrite: replace `output` if it exists.
        half: write floating-point numbers as float16, which halves the file; models take them as float32 again.
        without_clip: leave out what MODEL.MASQCLIP.CLIP.NAME of `config` brings anyway.

    Returns:
        What became of the names, a few lines of text.

    Raises:
        FileExistsError: `output` exists.
        FileNotFoundError: there are no such weights or configuration.
        KeyError: see `load_config`.
        ValueError: the weights cannot be read, are no checkpoint, or do not fit the configuration; `without_clip` for a
            CLIP, or without a configuration that names one.
    """
    output = Path(output)
    if output.suffix != ".safetensors":
        raise ValueError(f"The output must end in .safetensors, got {output}.")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists. Choose another name, or pass --overwrite to replace it.")
    cfg = None if config is None else load_config(config, tuple(opts))
    clip = _clip_name(weights)
    if clip is not None:
        if without_clip:
            raise ValueError(f"{weights} is a CLIP, so that nothing is left of it without CLIP.")
        return _convert_clip(clip, output, cfg, torch.float16 if half else torch.float32)
    checkpoint = read_checkpoint(local_weights_path(weights))
    accounted = _accounted(checkpoint.pop("model"), weights, cfg, without_clip)
    tensors = accounted.tensors
    if half:
        tensors = {name: some.half() if some.is_floating_point() else some for name, some in tensors.items()}
    write_safetensors(output, tensors)
    return "\n".join([*_report(accounted, checkpoint), _written(output, len(tensors))])


def _clip_name(weights: str) -> str | None:
    """What CLIP.NAME takes for these weights, None if they are no CLIP with both towers."""
    if weights in OPENAI_MODELS or weights.startswith(OPEN_CLIP_PREFIX):
        return weights
    path = local_weights_path(weights)
    is_clip = is_torchscript(path) or read_checkpoint(path)["model"].keys() >= _CLIP_NAMES
    return str(path) if is_clip else None


def _convert_clip(name: str, output: Path, cfg, dtype: torch.dtype) -> str:
    """A CLIP keeps OpenAI's names, and goes with its architecture; `cfg` says what weights cannot tell."""
    if cfg is None:
        clip = load_clip(name)
    else:
        cfg.MODEL.MASQCLIP.CLIP.NAME = name
        clip = clip_from_config(cfg)
    save_clip(output, clip, dtype)
    return f"taken as a CLIP, for MODEL.MASQCLIP.CLIP.NAME\n{_written(output, len(clip.openai_state_dict()))}"


def _accounted(tensors: dict[str, Tensor], weights: str, cfg, without_clip: bool) -> KeyMatch:
    """`tensors` in our names, such that MODEL.WEIGHTS takes the result wherever it takes `tensors`."""
    if without_clip and (cfg is None or not cfg.MODEL.MASQCLIP.CLIP.NAME):
        raise ValueError(
            "Without CLIP, weights are of use only to a configuration that names one; give --config-file with a "
            "MODEL.MASQCLIP.CLIP.NAME."
        )
    if cfg is None:
        accounted = match_keys_without_model(tensors)
    else:
        cfg.MODEL.DEVICE = "meta"
        with torch.device("meta"):
            model = build_model(cfg)
        accounted = match_keys(model, tensors, weights, getattr(model, "allow_missing", ()))
    if without_clip:
        accounted = _without_clip(accounted, model)
    if all(name.startswith("backbone.") for name in accounted.tensors):
        raise ValueError(
            f"{weights} is an {accounted.source}, where training starts; MODEL.WEIGHTS reads it as it is, so there is "
            "nothing to convert."
        )
    if cfg is not None:
        try:
            match_keys(model, accounted.tensors, weights, getattr(model, "allow_missing", ()))
        except ValueError as error:
            raise ValueError(
                f"{weights} ({accounted.source}) lacks what the converted file must have: {error} The missing "
                "parts may come with MODEL.MASQCLIP.CLIP.NAME."
            ) from error
    return accounted


def _without_clip(accounted: KeyMatch, model: nn.Module) -> KeyMatch:
    of_clip, learned = getattr(model, "allow_missing", ()), getattr(model, "trained_names", ())
    left_out = {name for name in accounted.tensors if matches(name, of_clip) and not matches(name, learned)}
    return replace(
        accounted,
        tensors={name: tensor for name, tensor in accounted.tensors.items() if name not in left_out},
        left_out=(*accounted.left_out, *sorted(left_out)),
    )


def _report(accounted: KeyMatch, rest: Iterable[str]) -> list[str]:
    lines = [f"taken as {accounted.source}"]
    renamed = Counter((_pattern(name), _pattern(ours)) for name, ours in accounted.renamed.items())
    lines += [f"  renamed: {name} -> {ours} ({count})" for (name, ours), count in renamed.items()]
    for what, names in (
        ("left out, as expected", accounted.left_out),
        ("not in the file, as expected", accounted.missing),
    ):
        lines += [f"  {what}: {name} ({count})" for name, count in Counter(map(_pattern, names)).items()]
    lines += [f"  left out, beside the model: {name}" for name in rest]
    return lines


def _pattern(name: str) -> str:
    """A name without its numbers, so that all layers share a line."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name)


def _written(output: Path, count: int) -> str:
    return f"wrote {output}: {count} tensors, {output.stat().st_size / 2**20:.1f} MiB"


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", help="a file, URL, shipped name, or name of a CLIP such as ViT-L/14@336px")
    parser.add_argument("output", help="the new file; ends in .safetensors")
    parser.add_argument("--config-file", help="a YAML file, or the name of a shipped config, that the weights must fit")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    parser.add_argument("--half", action="store_true", help="write float16, half the size")
    parser.add_argument("--without-clip", action="store_true", help="leave out what the config's CLIP.NAME brings")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="overrides for --config-file")
    args = parser.parse_args(argv)
    print(
        convert_checkpoint(
            args.weights,
            args.output,
            args.config_file,
            args.opts,
            overwrite=args.overwrite,
            half=args.half,
            without_clip=args.without_clip,
        )
    )


if __name__ == "__main__":
    main()
