"""CLIP: protocols of its towers, the implementation for published weights, preprocessing, tokenizer, registry.

May import `checkpoint` and everything below it, neither `data` nor `engine`.
"""

from .architecture import ClipArchitecture
from .eva_transformer import EvaVisionTransformer
from .model import ClipModel, build_clip, load_clip, save_clip
from .preprocessing import ClipPreprocessing
from .registry import CLIP_REGISTRY, Clip, clip_from_config
from .text_tower import TextTower, module_digest
from .text_transformer import ClipTextTransformer
from .tokenizer import ClipTokenizer
from .vision_tower import AttentionInputs, InputProjections, RotaryBlock, VisionBlock, VisionTower
from .vision_transformer import ClipVisionTransformer

__all__ = [
    "CLIP_REGISTRY",
    "AttentionInputs",
    "Clip",
    "ClipArchitecture",
    "ClipModel",
    "ClipPreprocessing",
    "ClipTextTransformer",
    "ClipTokenizer",
    "ClipVisionTransformer",
    "EvaVisionTransformer",
    "InputProjections",
    "RotaryBlock",
    "TextTower",
    "VisionBlock",
    "VisionTower",
    "build_clip",
    "clip_from_config",
    "load_clip",
    "module_digest",
    "save_clip",
]
