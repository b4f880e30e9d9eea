"""ValuePooling: proposals, and mask embeddings pooled from the values of CLIP's last block. Nothing is trained."""

from __future__ import annotations

from detectron2.modeling import META_ARCH_REGISTRY

from ..visual_encoder.value_pooling import ValuePoolingEncoder
from .build import open_vocabulary_arguments
from .open_vocabulary import OpenVocabularySegmenter


@META_ARCH_REGISTRY.register()
class ValuePooling(OpenVocabularySegmenter):
    """Proposer + value pooling + text classifier; input and output as in `open_vocabulary`."""

    @classmethod
    def from_config(cls, cfg) -> dict:
        arguments, visual = open_vocabulary_arguments(cfg)
        return {**arguments, "visual_encoder": ValuePoolingEncoder(visual)}
