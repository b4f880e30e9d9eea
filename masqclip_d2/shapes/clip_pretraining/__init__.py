"""Pre-training of the tiny CLIP of Shapes from images and captions (stage `clip_pretraining`)."""

from .model import ClipPretraining

__all__ = ["ClipPretraining"]
