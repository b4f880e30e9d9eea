"""The sizes of a CLIP: read from its weights, or from a small JSON file for a CLIP that is trained from scratch."""

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
# Width of one attention head in all of OpenAI's models; weights do not tell it.
_OPENAI_HEAD_WIDTH = 64
# A name that only towers of another kind have -> what they are.
_OTHER_TOWERS = {
    "visual.layer1.": "a ResNet",
    "visual.trunk.": "a tower of timm",
    "visual.attn_pool.": "a transformer with attention pooling",
    "vision_model.": "a Hugging Face model",
}


@dataclass(frozen=True, kw_only=True)
class ClipArchitecture:
    """Sizes of both towers. All but heads and activation can be read from weights.

    Raises:
        ValueError: a size is no positive integer, sizes do not fit each other, or the activation is unknown.
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
        for name, whole, part in (
            ("image_resolution", self.image_resolution, self.patch_size),
            ("vision_width", self.vision_width, self.vision_heads),
            ("text_width", self.text_width, self.text_heads),
        ):
            if whole % part:
                raise ValueError(f"{name} {whole} is not a multiple of {part} (patch size or heads).")

    @classmethod
    def from_dict(cls, sizes: Mapping[str, Any]) -> ClipArchitecture:
        """Read the fields of this class; `vision_mlp_width` may be left out.

        Raises:
            ValueError: a field is missing, unknown or wrong.
        """
        sizes = dict(sizes)
        if isinstance(sizes.get("vision_width"), int):
            sizes.setdefault("vision_mlp_width", 4 * sizes["vision_width"])
        known = {field.name for field in fields(cls)}
        if set(sizes) != known:
            missing, unknown = sorted(known - set(sizes)), sorted(set(sizes) - known)
            raise ValueError(f"CLIP architecture: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}.")
        return cls(**sizes)

    @classmethod
    def from_name(cls, name_or_path: str | Path) -> ClipArchitecture:
        """Read a JSON file, given by path or by the name of a shipped one such as "shapes-tiny", or an OpenAI name.

        Raises:
            FileNotFoundError: neither a file nor a shipped name.
            ValueError: the file is not JSON or no architecture.
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
            known: what is known beforehand, by field. Without it heads are 64 channels wide and the activation is
                QuickGELU, as in OpenAI's models.

        Raises:
            ValueError: the weights are of no CLIP with a plain ViT, or disagree with `known`.
        """
        _refuse_other_towers(tensors)
        conv, vision_positions = tensors["visual.conv1.weight"], tensors["visual.positional_embedding"]
        grid = round((len(vision_positions) - 1) ** 0.5)
        vocab_size, text_width = tensors["token_embedding.weight"].shape
        measured = {
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
        wrong = [
            f"{name} {size}, not {known[name]}" for name, size in measured.items() if known.get(name, size) != size
        ]
        if wrong:
            raise ValueError(f"The weights are of another architecture: they have {'; '.join(wrong)}.")
        assumed = {
            "vision_heads": max(1, measured["vision_width"] // _OPENAI_HEAD_WIDTH),
            "text_heads": max(1, measured["text_width"] // _OPENAI_HEAD_WIDTH),
            "activation": "quick_gelu",
        }
        return cls.from_dict({**assumed, **known, **measured})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _refuse_other_towers(tensors: Mapping[str, Tensor]) -> None:
    for beginning, kind in _OTHER_TOWERS.items():
        if any(name.startswith(beginning) for name in tensors):
            raise ValueError(
                f"The visual tower is {kind} (names such as {beginning!r}); only CLIP's own VisionTransformer with "
                "OpenAI's names is supported, such as ViT-B/16 or ViT-L/14@336px."
            )
    needed = (
        "visual.conv1.weight",
        "visual.positional_embedding",
        "visual.class_embedding",
        "visual.proj",
        "visual.transformer.resblocks.0.mlp.c_fc.bias",
        "token_embedding.weight",
        "positional_embedding",
    )
    missing = [name for name in needed if name not in tensors]
    if missing:
        some = ", ".join(list(tensors)[:3])
        raise ValueError(f"These are no weights of a CLIP: {', '.join(missing)} are missing. They begin with: {some}.")


def _num_blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"resblocks\.(\d+)\.attn\.in_proj_weight")
    return len({match[1] for match in map(pattern.match, tensors) if match})
