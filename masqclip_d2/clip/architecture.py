"""Sizes of a CLIP: read from its weights, or from a JSON file for a CLIP trained from scratch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from .eva_transformer import EVA_KINDS
from .pretrained import OPEN_CLIP_PREFIX, OPENAI_MODELS, open_clip_shapes
from .vision_transformer import ACTIVATIONS

VISION_KINDS = ("vit", *EVA_KINDS)

_SHIPPED_DIR = Path(__file__).parent / "architectures"
# Width of one attention head in all of OpenAI's models; it does not follow from the weights.
_OPENAI_HEAD_WIDTH = 64
# EVA-01 giant and EVA-02 enormous, whose weights have the same names.
_LARGE_EVA_HEADS = 16
_ENORMOUS_EVA_WIDTH = 1792
# Name prefixes of unsupported vision towers -> what they are.
_OTHER_TOWERS = {
    "visual.layer1.": "a ResNet",
    "visual.trunk.": "a timm model",
    "visual.attn_pool.": "a transformer with attention pooling",
    "vision_model.": "a Hugging Face model",
}

_TEXT_NAMES = ("token_embedding.weight", "positional_embedding")
_VIT_NAMES = (
    "visual.conv1.weight",
    "visual.positional_embedding",
    "visual.class_embedding",
    "visual.proj",
    "visual.transformer.resblocks.0.mlp.c_fc.bias",
    *_TEXT_NAMES,
)
_EVA_NAMES = (
    "visual.patch_embed.proj.weight",
    "visual.pos_embed",
    "visual.head.weight",
    "visual.blocks.0.mlp.fc2.weight",
    *_TEXT_NAMES,
)


@dataclass(frozen=True, kw_only=True)
class ClipArchitecture:
    """Sizes of both towers. All but heads and activation follow from the weights.

    Raises:
        ValueError: a size is not a positive integer, sizes do not fit each other, or activation or kind are unknown.
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
    activation: str  # "quick_gelu" (OpenAI's weights) or "gelu"; of both towers, of an EVA of the text tower
    vision_kind: str = "vit"  # "vit": CLIP's own; kinds of `EvaVisionTransformer`: "eva", "eva02", "eva_post_norm"

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in ("activation", "vision_kind"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} of a CLIP architecture must be a positive integer, got {value!r}.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"Unknown activation {self.activation!r}; known: {', '.join(ACTIVATIONS)}.")
        if self.vision_kind not in VISION_KINDS:
            raise ValueError(f"Unknown vision_kind {self.vision_kind!r}; known: {', '.join(VISION_KINDS)}.")
        for name, total, divisor in (
            ("image_resolution", self.image_resolution, self.patch_size),
            ("vision_width", self.vision_width, self.vision_heads),
            ("text_width", self.text_width, self.text_heads),
        ):
            if total % divisor:
                raise ValueError(f"{name} {total} is not a multiple of {divisor} (patch size or heads).")

    @classmethod
    def from_dict(cls, sizes: Mapping[str, Any]) -> ClipArchitecture:
        """The reverse of `to_dict`; `vision_mlp_width` (4 D) and `vision_kind` ("vit") are optional.

        Raises:
            ValueError: a field is missing, unknown or wrong.
        """
        sizes = dict(sizes)
        if isinstance(sizes.get("vision_width"), int):
            sizes.setdefault("vision_mlp_width", 4 * sizes["vision_width"])
        sizes.setdefault("vision_kind", "vit")
        known = {field.name for field in fields(cls)}
        if set(sizes) != known:
            missing, unknown = sorted(known - set(sizes)), sorted(set(sizes) - known)
            raise ValueError(f"CLIP architecture: missing fields {missing}, unknown fields {unknown}.")
        return cls(**sizes)

    @classmethod
    def from_name(cls, name_or_path: str | Path) -> ClipArchitecture:
        """Architecture of an OpenAI name, "open_clip:MODEL/TAG", a JSON file, or a shipped JSON file ("shapes-tiny").

        Raises:
            FileNotFoundError: the argument is none of these.
            ValueError: the file is not the JSON of an architecture, or open_clip has no such model that is supported.
        """
        if str(name_or_path).startswith(OPEN_CLIP_PREFIX):
            shapes = open_clip_shapes(str(name_or_path).removeprefix(OPEN_CLIP_PREFIX))
            return cls.from_state_dict(shapes.tensors, shapes.known_sizes)
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
        """Read the sizes from weights in OpenAI's names, with CLIP's own vision tower or `EvaVisionTransformer`.

        Args:
            tensors: state dict of both towers.
            known: fields known from elsewhere; those that follow from the weights are compared. Defaults: heads 64
                channels wide and QuickGELU, as in OpenAI's models; those of the released EVA-CLIPs.

        Raises:
            ValueError: the weights are of no CLIP that is supported, or disagree with `known`.
        """
        sizes = _eva_sizes(tensors) if "visual.cls_token" in tensors else _vit_sizes(tensors)
        vocab_size, text_width = tensors["token_embedding.weight"].shape
        sizes |= {
            "text_width": text_width,
            "text_layers": _num_blocks(tensors, r"transformer\.resblocks\.(\d+)\.attn\.in_proj_weight"),
            "context_length": len(tensors["positional_embedding"]),
            "vocab_size": vocab_size,
        }
        known = dict(known or {})
        differences = [
            f"{name} {size}, not {known[name]}" for name, size in sizes.items() if known.get(name, size) != size
        ]
        if differences:
            raise ValueError(f"The weights are of another architecture: they have {'; '.join(differences)}.")
        return cls.from_dict({**_defaults(sizes), **known, **sizes})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _vit_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    _refuse_other_towers(tensors)
    conv = tensors["visual.conv1.weight"]
    grid = round((len(tensors["visual.positional_embedding"]) - 1) ** 0.5)
    return {
        "image_resolution": grid * conv.shape[-1],
        "patch_size": conv.shape[-1],
        "vision_width": conv.shape[0],
        "vision_layers": _num_blocks(tensors, r"visual\.transformer\.resblocks\.(\d+)\.attn\.in_proj_weight"),
        "vision_mlp_width": len(tensors["visual.transformer.resblocks.0.mlp.c_fc.bias"]),
        "embed_dim": tensors["visual.proj"].shape[1],
        "vision_kind": "vit",
    }


def _eva_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    _require_names(tensors, _EVA_NAMES)
    conv = tensors["visual.patch_embed.proj.weight"]
    grid = round((tensors["visual.pos_embed"].shape[1] - 1) ** 0.5)
    gate = tensors.get("visual.blocks.0.mlp.fc1_g.weight")
    sizes = {
        "image_resolution": grid * conv.shape[-1],
        "patch_size": conv.shape[-1],
        "vision_width": conv.shape[0],
        "vision_layers": _num_blocks(tensors, r"visual\.blocks\.(\d+)\.norm1\.weight"),
        "vision_mlp_width": tensors["visual.blocks.0.mlp.fc2.weight"].shape[1],
        "embed_dim": len(tensors["visual.head.weight"]),
    }
    return sizes if gate is None else {**sizes, "vision_kind": "eva02"}


def _defaults(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that do not follow from the weights, of OpenAI's CLIPs and of the released EVA-CLIPs."""
    width, kind = sizes["vision_width"], sizes.get("vision_kind")
    large_eva = kind is None
    return {
        "vision_heads": _LARGE_EVA_HEADS if large_eva else max(1, width // _OPENAI_HEAD_WIDTH),
        "text_heads": max(1, sizes["text_width"] // _OPENAI_HEAD_WIDTH),
        "activation": "quick_gelu" if kind == "vit" else "gelu",
        "vision_kind": "eva_post_norm" if large_eva and width == _ENORMOUS_EVA_WIDTH else "eva",
    }


def _refuse_other_towers(tensors: Mapping[str, Tensor]) -> None:
    for prefix, kind in _OTHER_TOWERS.items():
        if any(name.startswith(prefix) for name in tensors):
            raise ValueError(
                f"The vision tower is {kind} (names such as {prefix!r}); these weights need a CLIP of your own "
                "(CLIP_REGISTRY, key MODEL.MASQCLIP.CLIP.BUILDER). Supported directly: CLIP's own VisionTransformer "
                "with OpenAI's names, such as ViT-B/16 or ViT-L/14@336px, and the vision transformers of EVA-CLIP."
            )
    _require_names(tensors, _VIT_NAMES)


def _require_names(tensors: Mapping[str, Tensor], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in tensors]
    if missing:
        first = ", ".join(list(tensors)[:3])
        raise ValueError(f"Not the weights of a CLIP: {', '.join(missing)} are missing. The first names are: {first}.")


def _num_blocks(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for match in (re.fullmatch(pattern, name) for name in tensors) if match})
