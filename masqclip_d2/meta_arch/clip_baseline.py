"""The CLIP baseline (MaskCLIP, appendix A): one CLIP pass per proposal, much slower than mask class tokens."""

from __future__ import annotations

from detectron2.modeling import META_ARCH_REGISTRY

from ..visual_encoder.clip_baseline import ClipBaselineEncoder
from .build import open_vocabulary_arguments
from .open_vocabulary import OpenVocabularySegmenter


@META_ARCH_REGISTRY.register()
class ClipBaseline(OpenVocabularySegmenter):
    """Proposer + CLIP on each masked image + text classifier; input and output as in `open_vocabulary`."""

    @classmethod
    def from_config(cls, cfg) -> dict:
        arguments, visual = open_vocabulary_arguments(cfg)
        batch_size = cfg.MODEL.MASQCLIP.TEST.BASELINE_BATCH_SIZE
        return {
            **arguments,
            "visual_encoder": ClipBaselineEncoder(visual, batch_size=batch_size),
        }
