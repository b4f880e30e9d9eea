"""Conversion of any checkpoint, of a model or of a CLIP, to safetensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ..checkpoint import local_weights_path, read_checkpoint
from ..checkpoint.conversion import convert_weights, written
from ..clip.eva_weights import with_eva_names
from ..clip.model import load_clip, save_clip
from ..clip.pretrained import OPEN_CLIP_PREFIX, OPENAI_MODELS, is_torchscript
from ..clip.registry import PretrainedClip
from ..config import load_config
from ..meta_arch.build import model_class

# Names that only a CLIP with both towers has.
_CLIP_NAMES = {"visual.conv1.weight", "token_embedding.weight"}
_EVA_NAMES = {"visual.patch_embed.proj.weight", "token_embedding.weight"}


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
        output: the new file, with the suffix .safetensors; written atomically.
        config: a YAML file or shipped name; the weights must fit its model. None: names are translated without a model.
        opts: KEY VALUE overrides of `config`.
        overwrite: replace `output` if it exists.
        half: write floating-point tensors as float16, half the size; models convert them to float32.
        without_clip: leave out the weights that MODEL.MASQCLIP.CLIP.NAME of `config` loads.

    Returns:
        What was done with each name, a few lines of text.

    Raises:
        FileExistsError: `output` exists.
        FileNotFoundError: there are no such weights or configuration.
        KeyError: see `load_config`.
        ValueError: the weights cannot be read, are no checkpoint, or do not fit the configuration; `without_clip` for a
            CLIP, or without a configuration that names one.
    """
    output = Path(output)
    if output.suffix != ".safetensors":
        raise ValueError(f"The output needs the suffix .safetensors, got {output}.")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists. Choose another name, or pass --overwrite to replace it.")
    cfg = None if config is None else load_config(config, tuple(opts))
    clip_name = _clip_name(weights)
    if clip_name is not None:
        if without_clip:
            raise ValueError(f"{weights} is a CLIP; without CLIP nothing is left of it.")
        return _convert_clip(clip_name, output, cfg, torch.float16 if half else torch.float32)
    if without_clip and (cfg is None or not cfg.MODEL.MASQCLIP.CLIP.NAME):
        raise ValueError("--without-clip needs --config-file with a MODEL.MASQCLIP.CLIP.NAME, which loads CLIP.")
    model = None
    if cfg is not None:
        model_class(cfg)  # refuses an unknown name
        cfg.MODEL.DEVICE = "meta"
        with torch.device("meta"):
            model = build_model(cfg)
    return convert_weights(weights, output, model, half=half, without_clip=without_clip)


def _clip_name(weights: str) -> str | None:
    """The value of CLIP.NAME for these weights; None if they are no CLIP with both towers."""
    if weights in OPENAI_MODELS or weights.startswith(OPEN_CLIP_PREFIX):
        return weights
    path = local_weights_path(weights)
    if is_torchscript(path):
        return str(path)
    names = with_eva_names(read_checkpoint(path)["model"]).keys()
    return str(path) if names >= _CLIP_NAMES or names >= _EVA_NAMES else None


def _convert_clip(name: str, output: Path, cfg: CfgNode | None, dtype: torch.dtype) -> str:
    """Write a CLIP under OpenAI's names, with its architecture; `cfg` may hold what the weights do not contain."""
    if cfg is None:
        clip = load_clip(name)
    else:
        cfg.MODEL.MASQCLIP.CLIP.NAME = name
        clip = PretrainedClip(cfg)
    save_clip(output, clip, dtype)
    return f"read as a CLIP, for MODEL.MASQCLIP.CLIP.NAME\n{written(output, len(clip.openai_state_dict()))}"
