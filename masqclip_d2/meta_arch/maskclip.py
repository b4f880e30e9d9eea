"""MaskCLIP (Ding et al., ICML 2023): proposals, and a frozen CLIP with one mask class token per proposal.

Relative Mask Attention (Sec. 3.3) is in the layers of MODEL.MASQCLIP.RMA.LAYERS; without any this is "MaskCLIP w/o
RMA" (Sec. 4.2), in which nothing learns.
"""

from __future__ import annotations

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..losses.criterion import SetCriterion
from ..losses.relative_mask_attention import rma_criterion, rma_losses
from ..visual_encoder.mask_class_tokens import MaskClassTokenEncoder
from ..visual_encoder.relative_mask_attention import attentions_with_rma
from ..vocabulary import Vocabulary
from .build import open_vocabulary_arguments
from .open_vocabulary import OpenVocabularySegmenter


@META_ARCH_REGISTRY.register()
class MaskCLIP(OpenVocabularySegmenter):
    """Proposer + mask class tokens + text classifier; input and output as in `open_vocabulary`.

    Args:
        criterion: loss of stage `rma`.
        train_extra_class: text of the class that competes with the categories in training.
        arguments: see `OpenVocabularySegmenter`.
    """

    @configurable
    def __init__(self, *, criterion: SetCriterion, train_extra_class: str, **arguments) -> None:
        super().__init__(**arguments)
        self.criterion = criterion
        self.train_extra_class = train_extra_class

    @classmethod
    def from_config(cls, cfg) -> dict:
        arguments, visual = open_vocabulary_arguments(cfg)
        rma = cfg.MODEL.MASQCLIP.RMA
        if rma.LAYERS and rma.REFINE_MASKS and (arguments["tiles"] > 1 or arguments["square_tiles"]):
            raise ValueError(
                "With MODEL.MASQCLIP.CLIP.TILES above 1 or SQUARE_TILES masks cannot be refined; set "
                "MODEL.MASQCLIP.RMA.REFINE_MASKS False."
            )
        return {
            **arguments,
            "visual_encoder": MaskClassTokenEncoder(visual, attentions_with_rma(visual, rma.LAYERS, rma.REFINE_MASKS)),
            "criterion": rma_criterion(cfg),
            "train_extra_class": rma.EXTRA_CLASS,
        }

    def losses(self, batched_inputs: list[dict], vocabulary: Vocabulary) -> dict[str, Tensor]:
        """See `losses.relative_mask_attention`."""
        if not self.trained_names:
            return super().losses(batched_inputs, vocabulary)
        batch = self.training_batch(batched_inputs)
        encoded = self.visual_encoder(batch.images, batch.mask_logits)
        class_logits = self.training_class_logits(encoded.mask_embeddings, vocabulary, self.train_extra_class)
        return rma_losses(
            self.criterion,
            encoded.refined_mask_logits,
            class_logits,
            batch.mask_logits,
            batch.num_proposals,
            batch.targets,
        )
