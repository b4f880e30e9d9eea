"""CLIP's visual tower with mask class tokens: one image and Q masks -> Q embeddings ("what")."""

from .clip_architecture import ClipArchitecture
from .clip_baseline import ClipBaselineEncoder, clip_baseline_embeddings
from .clip_image import clip_image, masks_to_encoder
from .clip_vit import ClipVisualTransformer
from .clip_weights import ClipModel, build_clip, load_clip, save_clip
from .mask_class_tokens import MaskClassTokenEncoder, MaskEmbeddings

__all__ = [
    "ClipArchitecture",
    "ClipBaselineEncoder",
    "ClipModel",
    "ClipVisualTransformer",
    "MaskClassTokenEncoder",
    "MaskEmbeddings",
    "build_clip",
    "clip_baseline_embeddings",
    "clip_image",
    "load_clip",
    "masks_to_encoder",
    "save_clip",
]
