"""Shapes, a synthetic world: rendering, datasets, pre-training of its CLIP, and its backbone.

Importing this package registers the datasets, the meta-architecture `ClipPretraining` and the backbone `TinyBackbone`.
"""

from . import clip_pretraining, registration, tiny_backbone

__all__ = ["clip_pretraining", "registration", "tiny_backbone"]
