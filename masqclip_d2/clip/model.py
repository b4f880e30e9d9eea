"""ClipModel: both towers and the temperature; load it from any supported source, build it for training, save it.

Weight files use OpenAI's names (`visual.*`, `transformer.*`, `token_embedding.weight`, ..., `logit_scale` as a
logarithm); for an EVA those of `EvaVisionTransformer` under `visual.`.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import SkippedInitialization, write_safetensors
from .architecture import ClipArchitecture
from .eva_transformer import EvaVisionTransformer
from .preprocessing import ClipPreprocessing
from .pretrained import (
    ARCHITECTURE_METADATA,
    OPEN_CLIP_PREFIX,
    OPENAI_MODELS,
    PREPROCESSING_METADATA,
    read_clip_weights,
)
from .text_transformer import ClipTextTransformer
from .vision_transformer import ClipVisionTransformer

# Initial temperature of CLIP's training (Radford et al., 2021, Sec. 2.5).
_INITIAL_TEMPERATURE = 0.07


class ClipModel(nn.Module):
    """CLIP of OpenAI's, open_clip's and EVA-CLIP's weights.

    Args:
        architecture: sizes of both towers.
        preprocessing: resize and normalization of images; None: OpenAI's.
        pretrained: the weights will be loaded, so checkpoints of a method may lack them (see `Clip`).
    """

    def __init__(
        self,
        architecture: ClipArchitecture,
        preprocessing: ClipPreprocessing | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        sizes = self.architecture = architecture
        self.pretrained = pretrained
        self.visual = _vision_tower(sizes, preprocessing)
        self.text = ClipTextTransformer(
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
        """Factor of cosine similarities, () float: 1 / temperature, 100 in OpenAI's models."""
        return self.log_logit_scale.exp()

    @property
    def preprocessing(self) -> ClipPreprocessing:
        """Resize and normalization of images."""
        return self.visual.preprocessing

    def openai_state_dict(self) -> dict[str, Tensor]:
        """All weights in OpenAI's names; the tensors share storage with the parameters."""
        visual = {f"visual.{name}": tensor for name, tensor in self.visual.state_dict().items()}
        return {**visual, **self.text.state_dict(), "logit_scale": self.log_logit_scale.detach()}

    def load_openai_state_dict(self, tensors: MutableMapping[str, Tensor]) -> None:
        """Move all weights out of `tensors`, in OpenAI's names and of any floating dtype.

        `tensors` is empty afterwards: the weights are never in memory twice.

        Raises:
            ValueError: a name is missing or unexpected, or a shape differs.
        """
        own = self.openai_state_dict()
        missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        shapes = [
            f"{name} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ]
        if missing or unexpected or shapes:
            raise ValueError(
                f"These weights do not fit this CLIP: {len(missing)} names are missing ({_first(missing)}), "
                f"{len(unexpected)} are unexpected ({_first(unexpected)}), shapes: {_first(shapes)}."
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors.pop(name))


def _vision_tower(
    sizes: ClipArchitecture, preprocessing: ClipPreprocessing | None
) -> ClipVisionTransformer | EvaVisionTransformer:
    shared = {
        "input_resolution": sizes.image_resolution,
        "patch_size": sizes.patch_size,
        "width": sizes.vision_width,
        "layers": sizes.vision_layers,
        "heads": sizes.vision_heads,
        "output_dim": sizes.embed_dim,
        "mlp_width": sizes.vision_mlp_width,
    }
    if sizes.vision_kind == "vit":
        return ClipVisionTransformer(**shared, activation=sizes.activation, preprocessing=preprocessing)
    return EvaVisionTransformer(**shared, kind=sizes.vision_kind, preprocessing=preprocessing)


def build_clip(architecture: ClipArchitecture | Mapping[str, Any] | str | Path) -> ClipModel:
    """CLIP with random weights, trainable, for training from scratch.

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


def load_clip(
    name_or_path: str | Path,
    architecture: Mapping[str, Any] | None = None,
    preprocessing: ClipPreprocessing | None = None,
) -> ClipModel:
    """Load a CLIP, frozen, in eval mode, float32, on the CPU.

    Args:
        name_or_path: one of
            an OpenAI name ("ViT-L/14@336px"): its archive, the checksum verified, or open_clip's copy of the weights;
            "open_clip:MODEL/TAG" ("open_clip:ViT-B-16/laion2b_s34b_b88k"): VisionTransformers with class-token pooling,
            those of EVA-CLIP ("open_clip:EVA02-L-14-336/merged2b_s6b_b61k") included;
            a file, also on a server (https://..., hf://OWNER/REPO/FILE; see the package `hub`): OpenAI's TorchScript
            archive (verified by its sha256), a state dict in OpenAI's, open_clip's or EVA-CLIP's names (.pt, .pth,
            .safetensors), or a file of `save_clip`;
            "masqclip://NAME": weights shipped with the package.
        architecture: fields of `ClipArchitecture` that do not follow from the weights, for a plain state dict whose
            heads are not 64 wide or whose activation is not QuickGELU. Fields that follow from them are compared.
        preprocessing: for a plain state dict of a CLIP trained with other than OpenAI's preprocessing; None: what the
            source states, else OpenAI's.

    Returns:
        The model; its sizes come from the weights. Under `torch.device("meta")` names of OpenAI and open_clip need no
        file.

    Raises:
        FileNotFoundError: no such name or file, or it cannot be downloaded; the message has the URL.
        ValueError: the file is damaged, is not a CLIP with a plain ViT or an EVA, could run code, or disagrees with
            `architecture`.
    """
    name = str(name_or_path)
    if torch.get_default_device().type == "meta" and (name in OPENAI_MODELS or name.startswith(OPEN_CLIP_PREFIX)):
        model = ClipModel(ClipArchitecture.from_name(name), pretrained=True)
        return model.requires_grad_(False).eval()
    weights = read_clip_weights(name)
    known_sizes = {**weights.known_sizes, **(architecture or {})}
    try:
        sizes = ClipArchitecture.from_state_dict(weights.tensors, known_sizes)
        with SkippedInitialization(writes_zeros=False):  # loading is strict, so nothing stays without values
            model = ClipModel(sizes, preprocessing or weights.preprocessing, pretrained=True)
        model.load_openai_state_dict(weights.tensors)
    except ValueError as error:
        raise ValueError(f"CLIP weights {name_or_path}: {error}") from error
    logging.getLogger(__name__).info("CLIP %s: %s, %s", name_or_path, model.architecture, model.preprocessing)
    return model.requires_grad_(False).eval()


def save_clip(path: str | Path, model: ClipModel, dtype: torch.dtype = torch.float32) -> None:
    """Write a CLIP as .safetensors with OpenAI's names, its architecture and its preprocessing, for `load_clip`.

    Args:
        path: with suffix .safetensors; written atomically.
        model: both towers.
        dtype: of the file; float16 halves its size. `load_clip` returns float32.

    Raises:
        ValueError: `path` has another suffix.
    """
    tensors = {name: tensor.to("cpu", dtype) for name, tensor in model.openai_state_dict().items()}
    metadata = {
        ARCHITECTURE_METADATA: json.dumps(model.architecture.to_dict()),
        PREPROCESSING_METADATA: json.dumps(model.preprocessing.to_dict()),
    }
    write_safetensors(path, tensors, metadata)


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
