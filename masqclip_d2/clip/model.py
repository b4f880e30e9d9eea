"""CLIP as a whole: load it from any supported source, build a small one for training, save it.

Names in files are OpenAI's (`visual.*`, `transformer.*`, `token_embedding.weight`, ..., `logit_scale` as a logarithm).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .architecture import ClipArchitecture
from .pretrained import (
    OPEN_CLIP_PREFIX,
    OPENAI_MODELS,
    is_torchscript,
    openai_archive,
    read_open_clip,
    read_openai_archive,
)
from .text_tower import TextTower
from .vision_transformer import ClipVisionTransformer

# Entry of a .safetensors file's metadata with our `ClipArchitecture` as JSON.
_METADATA_KEY = "clip_architecture"
# Temperature that CLIP's training starts with (Radford et al., 2021, Sec. 2.5).
_INITIAL_TEMPERATURE = 0.07


class ClipModel(nn.Module):
    """Both towers and the temperature.

    Args:
        architecture: sizes of both towers.
    """

    def __init__(self, architecture: ClipArchitecture) -> None:
        super().__init__()
        sizes = self.architecture = architecture
        self.visual = ClipVisionTransformer(
            input_resolution=sizes.image_resolution,
            patch_size=sizes.patch_size,
            width=sizes.vision_width,
            layers=sizes.vision_layers,
            heads=sizes.vision_heads,
            output_dim=sizes.embed_dim,
            activation=sizes.activation,
            mlp_width=sizes.vision_mlp_width,
        )
        self.text = TextTower(
            context_length=sizes.context_length,
            vocab_size=sizes.vocab_size,
            width=sizes.text_width,
            heads=sizes.text_heads,
            layers=sizes.text_layers,
            output_dim=sizes.embed_dim,
            activation=sizes.activation,
        )
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(1 / _INITIAL_TEMPERATURE)))

    @property
    def logit_scale(self) -> Tensor:
        """What cosines are multiplied with, () float: 1 / temperature, 100 in OpenAI's models."""
        return self.log_logit_scale.exp()

    def openai_state_dict(self) -> dict[str, Tensor]:
        """All weights in OpenAI's names; the tensors are the parameters' own."""
        visual = {f"visual.{name}": tensor for name, tensor in self.visual.state_dict().items()}
        return {**visual, **self.text.state_dict(), "logit_scale": self.log_logit_scale.detach()}

    def load_openai_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take all weights from `tensors` in OpenAI's names, any floating dtype.

        Raises:
            ValueError: a name is missing or left over, or a shape differs.
        """
        own = self.openai_state_dict()
        missing, left_over = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        wrong = [
            f"{name} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ]
        if missing or left_over or wrong:
            raise ValueError(
                f"These weights do not fit this CLIP: {len(missing)} names are missing ({_some(missing)}), "
                f"{len(left_over)} are left over ({_some(left_over)}), shapes: {_some(wrong)}."
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])


def build_clip(architecture: ClipArchitecture | Mapping[str, Any] | str | Path) -> ClipModel:
    """Make a CLIP with random weights, trainable, for training from scratch.

    Args:
        architecture: sizes, as an object, as a mapping, or as a name (see `ClipArchitecture.from_name`).

    Raises:
        FileNotFoundError, ValueError: see `ClipArchitecture.from_name` and `from_dict`.
    """
    if isinstance(architecture, Mapping):
        architecture = ClipArchitecture.from_dict(architecture)
    elif not isinstance(architecture, ClipArchitecture):
        architecture = ClipArchitecture.from_name(architecture)
    return ClipModel(architecture)


def load_clip(name_or_path: str | Path, architecture: Mapping[str, Any] | None = None) -> ClipModel:
    """Load a CLIP, frozen, in eval mode, float32, on the CPU.

    Args:
        name_or_path: one of
            an OpenAI name ("ViT-L/14@336px"), downloaded once to `cache_dir()`, with its checksum;
            "open_clip:MODEL/TAG" ("open_clip:ViT-B-16/laion2b_s34b_b88k"): VisionTransformers with class-token pooling;
            a file: OpenAI's TorchScript archive (known by its sha256), a state dict in OpenAI's names (.pt, .pth,
            .safetensors), or what `save_clip` wrote;
            "masqclip://NAME": weights that ship with the package.
        architecture: fields of `ClipArchitecture` that weights cannot tell, for a plain state dict whose heads are not
            64 wide or whose activation is not QuickGELU. Fields that weights do tell are compared.

    Returns:
        The model; sizes come from the weights. Under `torch.device("meta")`, where there are no numbers, OpenAI's names
        need no file.

    Raises:
        FileNotFoundError: no such name or file, or it cannot be downloaded; the message says where to get it.
        ValueError: the file is damaged, is no CLIP with a plain ViT, could run code, or disagrees with `architecture`.
    """
    if torch.get_default_device().type == "meta" and str(name_or_path) in OPENAI_MODELS:
        return ClipModel(ClipArchitecture.from_name(name_or_path)).requires_grad_(False).eval()
    tensors, known = _read(str(name_or_path))
    known = {**known, **(architecture or {})}
    try:
        model = ClipModel(ClipArchitecture.from_state_dict(tensors, known))
        model.load_openai_state_dict(tensors)
    except ValueError as error:
        raise ValueError(f"CLIP weights {name_or_path}: {error}") from error
    logging.getLogger(__name__).info("CLIP %s: %s", name_or_path, model.architecture)
    return model.requires_grad_(False).eval()


def save_clip(path: str | Path, model: ClipModel, dtype: torch.dtype = torch.float32) -> None:
    """Write a CLIP as .safetensors with OpenAI's names and its architecture, for `load_clip`.

    Args:
        path: ends in .safetensors. Written whole or not at all.
        model: both towers.
        dtype: of the file; float16 halves it. `load_clip` gives float32 again.

    Raises:
        ValueError: `path` has another ending.
    """
    from ..checkpoint import write_safetensors

    tensors = {name: tensor.to("cpu", dtype) for name, tensor in model.openai_state_dict().items()}
    write_safetensors(path, tensors, {_METADATA_KEY: json.dumps(model.architecture.to_dict())})


def _read(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict in OpenAI's names, and what the source knows of the architecture beside it."""
    from ..checkpoint import local_weights_path, read_checkpoint

    if name in OPENAI_MODELS:
        return read_openai_archive(openai_archive(name)), {}
    if name.startswith(OPEN_CLIP_PREFIX):
        return read_open_clip(name.removeprefix(OPEN_CLIP_PREFIX))
    path = local_weights_path(name) if "://" in name else Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"CLIP {name!r} is neither a file nor a known name. Known: {', '.join(OPENAI_MODELS)}; "
            f"{OPEN_CLIP_PREFIX}MODEL/TAG; masqclip://NAME."
        )
    if is_torchscript(path):
        return read_openai_archive(path), {}
    tensors = read_checkpoint(path)["model"]
    return tensors, _saved_architecture(path) if path.suffix == ".safetensors" else {}


def _saved_architecture(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get(_METADATA_KEY, "{}"))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
