"""CLIP embeddings of masks: one image and Q masks -> Q embeddings, by mask class tokens, value
pooling or the CLIP baseline.

May import `vocabulary` and everything below it, neither `data` nor `engine`.
"""

from .attend_mask import attend_mask, touched_patches
from .clip_baseline import ClipBaselineEncoder, clip_baseline_embeddings
from .mask_class_tokens import MaskClassTokenEncoder, MaskEmbeddings
from .masq_attention import MasqAttention
from .relative_mask_attention import RelativeMaskAttention
from .value_pooling import ValuePoolingEncoder

__all__ = [
    "ClipBaselineEncoder",
    "MaskClassTokenEncoder",
    "MaskEmbeddings",
    "MasqAttention",
    "RelativeMaskAttention",
    "ValuePoolingEncoder",
    "attend_mask",
    "clip_baseline_embeddings",
    "touched_patches",
]
