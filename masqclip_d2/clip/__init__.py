"""CLIP: architecture, vision and text tower, pretrained weights, preprocessing."""

from .architecture import ClipArchitecture
from .model import ClipModel, build_clip, load_clip, save_clip
from .preprocessing import clip_image, masks_to_encoder
from .text_tower import TextTower
from .vision_transformer import ClipVisionTransformer

__all__ = [
    "ClipArchitecture",
    "ClipModel",
    "ClipVisionTransformer",
    "TextTower",
    "build_clip",
    "clip_image",
    "load_clip",
    "masks_to_encoder",
    "save_clip",
]
