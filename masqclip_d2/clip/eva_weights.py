"""Weights of EVA-CLIP from open_clip's files and the original release, in the names of `EvaVisionTransformer`.

The original release (QuanSun/EVA-CLIP) names the same tensors differently, packs or splits the three projections of an
attention, and stores the tables of the rotary positions. The text tower, under `text.` in both, has OpenAI's names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

# Beginning of the name of a timm model -> kind of EVA.
_TIMM_NAMES = {"eva02_enormous_": "eva_post_norm", "eva02_": "eva02", "eva_giant_": "eva"}
# Keys of vision_cfg of an EVA in open_clip, and the values that are supported; None: any.
_OPEN_CLIP_VISION = {
    "image_size": None,
    "timm_model_name": None,
    "timm_model_pretrained": (False,),
    "timm_pool": ("token",),
    "timm_proj": (None, ""),
}
_RENAMED = (
    (re.compile(r"^visual\.trunk\."), "visual."),
    (re.compile(r"\.attn\.inner_attn_ln\."), ".attn.norm."),
    (re.compile(r"\.mlp\.ffn_ln\."), ".mlp.norm."),
    (re.compile(r"\.mlp\.w1\."), ".mlp.fc1_g."),
    (re.compile(r"\.mlp\.w2\."), ".mlp.fc1_x."),
    (re.compile(r"\.mlp\.w3\."), ".mlp.fc2."),
    (re.compile(r"\.attn\.([qv])_bias$"), r".attn.\1_proj.bias"),
    (re.compile(r"^text\."), ""),
)
_COMPUTED = re.compile(r"(^|\.)(rope\.freqs_(cos|sin)|attn_mask)$")  # they follow from the sizes
_FIRST_ATTENTION = re.compile(r"visual\.(trunk\.)?blocks\.0\.attn\.(q_proj\.weight|q_bias)")


def eva_kind(config: Mapping[str, Any]) -> str | None:
    """Kind of EVA of an open_clip model configuration; None if it is none that is supported."""
    vision = config["vision_cfg"]
    name = vision.get("timm_model_name") or ""
    kind = next((kind for start, kind in _TIMM_NAMES.items() if name.startswith(start)), None)
    for key, value in vision.items():
        allowed = _OPEN_CLIP_VISION.get(key, ())
        if allowed is not None and value not in allowed:
            return None
    return kind


def with_eva_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict in the names of `EvaVisionTransformer` and OpenAI's text tower; unchanged if it is no EVA-CLIP."""
    if not any(map(_FIRST_ATTENTION.fullmatch, tensors)):
        return dict(tensors)
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _COMPUTED.search(name):
            continue
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name)
        if name.endswith(".attn.qkv.weight"):
            for part, weight in zip("qkv", tensor.chunk(3), strict=True):
                renamed[name.replace(".qkv.", f".{part}_proj.")] = weight
        else:
            renamed[name] = tensor
    return renamed
