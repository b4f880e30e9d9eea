"""Registered compositions of proposer, visual encoder, vocabulary and fusion. Importing this registers them."""

from .clip_baseline import ClipBaseline
from .clip_pretraining import ClipPretraining
from .mask_proposer import MaskProposer
from .maskclip import MaskCLIP

__all__ = ["ClipBaseline", "ClipPretraining", "MaskCLIP", "MaskProposer"]
