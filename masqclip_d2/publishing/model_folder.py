"""A published model: a folder, or a repository of the Hugging Face Hub, with these files.

config.yaml         the whole configuration; paths of the machine that wrote it are left out
model.safetensors   the weights, without a CLIP that MODEL.MASQCLIP.CLIP.NAME loads
clip.safetensors    the CLIP, if it has no published name
README.md           the model card
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..checkpoint.conversion import clip_names, halved
from ..checkpoint.writing import write_safetensors
from ..clip.model import save_clip
from ..clip.pretrained import OPEN_CLIP_PREFIX, OPENAI_MODELS
from ..clip.registry import PretrainedClip
from ..config import get_masqclip_cfg, load_config
from ..files import expand_home, save_text
from ..hub import WeightFile, is_remote

CONFIG, WEIGHTS, CLIP, CARD = "config.yaml", "model.safetensors", "clip.safetensors", "README.md"
_CLIP_KEY = "MODEL.MASQCLIP.CLIP.NAME"
REPO_NAME = r"[\w.-]+/[\w.-]+"
"""Pattern (ASCII) of OWNER/NAME on the Hugging Face Hub."""
_HUB_NAME = re.compile(rf"hf://({REPO_NAME})(?:@([\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class ModelFolder:
    """Arguments of `Predictor`: configuration file, weights, and KEY VALUE overrides."""

    config: Path
    weights: Path
    opts: tuple[str, ...] = ()


def is_model_folder(name: str | Path) -> bool:
    """Whether a name is that of a published model: hf://OWNER/NAME, hf://OWNER/NAME@REVISION, or a folder."""
    return _HUB_NAME.fullmatch(str(name)) is not None or expand_home(str(name)).is_dir()


def find_model_folder(name: str | Path) -> ModelFolder:
    """The files of a published model, downloaded if necessary.

    Args:
        name: see `is_model_folder`.

    Raises:
        FileNotFoundError: a file is missing, or cannot be downloaded.
        KeyError, ValueError: see `load_config`.
    """
    config, weights = _file(name, CONFIG), _file(name, WEIGHTS)
    if load_config(config).MODEL.MASQCLIP.CLIP.NAME == CLIP:
        return ModelFolder(config, weights, (_CLIP_KEY, str(_file(name, CLIP))))
    return ModelFolder(config, weights)


def write_model_folder(folder: str | Path, cfg, model: nn.Module, card: str, half: bool = False) -> None:
    """Write a model; existing files of these names are replaced.

    Args:
        folder: made if it is missing.
        cfg: the configuration of the model.
        model: with its weights.
        card: text of README.md.
        half: floating-point weights as float16, half the size; they are read as float32.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = expand_home(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    if not has_published_clip(cfg):
        clip = PretrainedClip(cfg)
        save_clip(folder / CLIP, clip)
    tensors = model.state_dict()
    loaded_by_name = clip_names(model, tensors)
    tensors = {name: tensor for name, tensor in tensors.items() if name not in loaded_by_name}
    write_safetensors(folder / WEIGHTS, halved(tensors) if half else tensors)
    save_text(folder / CONFIG, _portable(cfg).dump())
    save_text(folder / CARD, card)


def has_published_clip(cfg) -> bool:
    """Whether MODEL.MASQCLIP.CLIP.NAME is a name that loads the same CLIP on every machine."""
    name = cfg.MODEL.MASQCLIP.CLIP.NAME
    return not name or name in OPENAI_MODELS or name.startswith((OPEN_CLIP_PREFIX, "masqclip://")) or is_remote(name)


def _file(name: str | Path, file: str) -> Path:
    on_hub = _HUB_NAME.fullmatch(str(name))
    if on_hub:
        repo, revision = on_hub[1], on_hub[2] or "main"
        return WeightFile.of(f"hf://{repo}/{file}@{revision}").fetch()
    path = expand_home(str(name)) / file
    if not path.is_file():
        raise FileNotFoundError(f"{name} has no {file}; a model folder is what Predictor.save_pretrained writes.")
    return path


def _portable(cfg):
    """The configuration without the folders and the device of this machine."""
    defaults = get_masqclip_cfg()
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE, cfg.OUTPUT_DIR = "", defaults.MODEL.DEVICE, defaults.OUTPUT_DIR
    cfg.STAGES = []
    if not has_published_clip(cfg):
        cfg.MODEL.MASQCLIP.CLIP.NAME, cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE = CLIP, ""
    return cfg
