"""Pre-training of the tiny CLIP of Shapes on images and captions (stage `clip_pretraining`)."""

from .caption_mapper import CaptionMapper
from .model import ClipPretraining
from .picture_mapper import PictureMapper

__all__ = ["CaptionMapper", "ClipPretraining", "PictureMapper"]
