"""MaskCLIP (Ding et al., ICML 2023): proposals, and a frozen CLIP that carries one mask class token per proposal.

Here without Relative Mask Attention ("MaskCLIP w/o RMA", Sec. 4.2): nothing learns in this stage.
"""

from __future__ import annotations

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from ..visual_encoder.mask_class_tokens import MaskClassTokenEncoder
from .build import open_vocabulary_arguments
from .open_vocabulary import OpenVocabularySegmenter


@META_ARCH_REGISTRY.register()
class MaskCLIP(OpenVocabularySegmenter):
    """Proposer + mask class tokens + text classifier; input and output as in `open_vocabulary`."""

    @configurable
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)

    @classmethod
    def from_config(cls, cfg) -> dict:
        arguments, visual = open_vocabulary_arguments(cfg)
        return {**arguments, "extra_class_in_panoptic": True, "visual_encoder": MaskClassTokenEncoder(visual)}
