"""CLIP: architecture, vision and text tower, pretrained weights, preprocessing."""

from .architecture import ClipArchitecture
from .model import ClipModel, build_clip, load_clip, save_clip
from .preprocessing import clip_image, masks_to_encoder
from .text_tower import TextEncoder
from .vision_transformer import ClipVisualTransformer

__all__ = [
    "ClipArchitecture",
    "ClipModel",
    "ClipVisualTransformer",
    "TextEncoder",
    "build_clip",
    "clip_image",
    "load_clip",
    "masks_to_encoder",
    "save_clip",
]
