"""Shapes, a synthetic world: rendering, datasets, pre-training of its CLIP, and its backbone.

Importing this package registers the datasets, the meta-architecture `ClipPretraining` and the backbone `TinyBackbone`.

May import `presets` and everything below it, not the predictor.
"""

from . import clip_pretraining, registration, tiny_backbone

__all__ = ["clip_pretraining", "registration", "tiny_backbone"]
