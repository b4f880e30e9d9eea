"""Sizes of a CLIP: read from its weights, or from a JSON file for a CLIP trained from scratch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from .pretrained import OPENAI_MODELS
from .vision_transformer import ACTIVATIONS

_SHIPPED_DIR = Path(__file__).parent / "architectures"
# Width of one attention head in all of OpenAI's models; it does not follow from the weights.
_OPENAI_HEAD_WIDTH = 64
# Name prefixes of unsupported vision towers -> what they are.
_OTHER_TOWERS = {
    "visual.layer1.": "a ResNet",
    "visual.trunk.": "a timm model",
    "visual.attn_pool.": "a transformer with attention pooling",
    "vision_model.": "a Hugging Face model",
}


@dataclass(frozen=True, kw_only=True)
class ClipArchitecture:
    """Sizes of both towers. All but heads and activation follow from the weights.

    Raises:
        ValueError: a size is not a positive integer, sizes do not fit each other, or the activation is unknown.
    """

    image_resolution: int  # R, pixels
    patch_size: int  # p, pixels
    vision_width: int  # D
    vision_layers: int
    vision_heads: int
    vision_mlp_width: int  # 4 D in OpenAI's models
    embed_dim: int  # E, of both towers
    text_width: int
    text_layers: int
    text_heads: int
    context_length: int  # tokens
    vocab_size: int  # tokens
    activation: str  # "quick_gelu" (OpenAI's weights) or "gelu"

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "activation" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"{name} of a CLIP architecture must be a positive integer, got {value!r}.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"Unknown activation {self.activation!r}; known: {', '.join(ACTIVATIONS)}.")
        for name, total, divisor in (
            ("image_resolution", self.image_resolution, self.patch_size),
            ("vision_width", self.vision_width, self.vision_heads),
            ("text_width", self.text_width, self.text_heads),
        ):
            if total % divisor:
                raise ValueError(f"{name} {total} is not a multiple of {divisor} (patch size or heads).")

    @classmethod
    def from_dict(cls, sizes: Mapping[str, Any]) -> ClipArchitecture:
        """The reverse of `to_dict`; `vision_mlp_width` is optional (4 D).

        Raises:
            ValueError: a field is missing, unknown or wrong.
        """
        sizes = dict(sizes)
        if isinstance(sizes.get("vision_width"), int):
            sizes.setdefault("vision_mlp_width", 4 * sizes["vision_width"])
        known = {field.name for field in fields(cls)}
        if set(sizes) != known:
            missing, unknown = sorted(known - set(sizes)), sorted(set(sizes) - known)
            raise ValueError(f"CLIP architecture: missing fields {missing}, unknown fields {unknown}.")
        return cls(**sizes)

    @classmethod
    def from_name(cls, name_or_path: str | Path) -> ClipArchitecture:
        """Architecture of an OpenAI name, a JSON file, or a shipped JSON file by name ("shapes-tiny").

        Raises:
            FileNotFoundError: the argument is none of these.
            ValueError: the file is not the JSON of an architecture.
        """
        if str(name_or_path) in OPENAI_MODELS:
            return cls.from_dict(OPENAI_MODELS[str(name_or_path)]["architecture"])
        path = Path(name_or_path)
        if not path.is_file():
            path = _SHIPPED_DIR / f"{name_or_path}.json"
        if not path.is_file():
            shipped = ", ".join(sorted(file.stem for file in _SHIPPED_DIR.glob("*.json")))
            raise FileNotFoundError(
                f"CLIP architecture {str(name_or_path)!r} is neither a JSON file nor a known name ({shipped}, "
                f"{', '.join(OPENAI_MODELS)})."
            )
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor], known: Mapping[str, Any] | None = None) -> ClipArchitecture:
        """Read the sizes from weights in OpenAI's names.

        Args:
            tensors: state dict of both towers.
            known: fields known from elsewhere; those that follow from the weights are compared. Defaults: heads 64
                channels wide, QuickGELU, as in OpenAI's models.

        Raises:
            ValueError: the weights are not those of a CLIP with a plain ViT, or disagree with `known`.
        """
        _refuse_other_towers(tensors)
        conv, vision_positions = tensors["visual.conv1.weight"], tensors["visual.positional_embedding"]
        grid = round((len(vision_positions) - 1) ** 0.5)
        vocab_size, text_width = tensors["token_embedding.weight"].shape
        sizes = {
            "image_resolution": grid * conv.shape[-1],
            "patch_size": conv.shape[-1],
            "vision_width": conv.shape[0],
            "vision_layers": _num_blocks(tensors, "visual.transformer."),
            "vision_mlp_width": len(tensors["visual.transformer.resblocks.0.mlp.c_fc.bias"]),
            "embed_dim": tensors["visual.proj"].shape[1],
            "text_width": text_width,
            "text_layers": _num_blocks(tensors, "transformer."),
            "context_length": len(tensors["positional_embedding"]),
            "vocab_size": vocab_size,
        }
        known = dict(known or {})
        differences = [
            f"{name} {size}, not {known[name]}" for name, size in sizes.items() if known.get(name, size) != size
        ]
        if differences:
            raise ValueError(f"The weights are of another architecture: they have {'; '.join(differences)}.")
        defaults = {
            "vision_heads": max(1, sizes["vision_width"] // _OPENAI_HEAD_WIDTH),
            "text_heads": max(1, sizes["text_width"] // _OPENAI_HEAD_WIDTH),
            "activation": "quick_gelu",
        }
        return cls.from_dict({**defaults, **known, **sizes})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _refuse_other_towers(tensors: Mapping[str, Tensor]) -> None:
    for prefix, kind in _OTHER_TOWERS.items():
        if any(name.startswith(prefix) for name in tensors):
            raise ValueError(
                f"The vision tower is {kind} (names such as {prefix!r}); these weights need a CLIP of your own "
                "(CLIP_REGISTRY, key MODEL.MASQCLIP.CLIP.BUILDER). Supported directly: CLIP's own VisionTransformer "
                "with OpenAI's names, such as ViT-B/16 or ViT-L/14@336px."
            )
    required = (
        "visual.conv1.weight",
        "visual.positional_embedding",
        "visual.class_embedding",
        "visual.proj",
        "visual.transformer.resblocks.0.mlp.c_fc.bias",
        "token_embedding.weight",
        "positional_embedding",
    )
    missing = [name for name in required if name not in tensors]
    if missing:
        first = ", ".join(list(tensors)[:3])
        raise ValueError(f"Not the weights of a CLIP: {', '.join(missing)} are missing. The first names are: {first}.")


def _num_blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"resblocks\.(\d+)\.attn\.in_proj_weight")
    return len({match[1] for match in map(pattern.match, tensors) if match})
