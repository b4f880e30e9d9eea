"""MaskCLIP (Ding et al., ICML 2023): proposals, and a frozen CLIP that carries one mask class token per proposal.

With Relative Mask Attention (Sec. 3.3) in the layers of MODEL.MASQCLIP.RMA.LAYERS; without any this is "MaskCLIP w/o
RMA" (Sec. 4.2), in which nothing learns.
"""

from __future__ import annotations

from collections.abc import Callable

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
        make_criterion: K -> the loss of stage `rma`.
        train_extra_class: text of the class that competes with the categories in training.
        arguments: see `OpenVocabularySegmenter`.
    """

    @configurable
    def __init__(self, *, make_criterion: Callable[[int], SetCriterion], train_extra_class: str, **arguments) -> None:
        super().__init__(**arguments)
        self.make_criterion = make_criterion
        self.train_extra_class = train_extra_class

    @classmethod
    def from_config(cls, cfg) -> dict:
        arguments, visual = open_vocabulary_arguments(cfg)
        rma = cfg.MODEL.MASQCLIP.RMA
        return {
            **arguments,
            "extra_class_in_panoptic": True,
            "visual_encoder": MaskClassTokenEncoder(visual, attentions_with_rma(visual, rma.LAYERS, rma.REFINE_MASKS)),
            "make_criterion": lambda num_classes: rma_criterion(cfg, num_classes),
            "train_extra_class": rma.EXTRA_CLASS,
        }

    def losses(self, batched_inputs: list[dict], vocabulary: Vocabulary) -> dict[str, Tensor]:
        """See `training.relative_mask_attention`."""
        if not any(parameter.requires_grad for parameter in self.visual_encoder.parameters()):
            return super().losses(batched_inputs, vocabulary)
        images, mask_logits, counts, targets = self.training_batch(batched_inputs)
        encoded = self.visual_encoder(images, mask_logits)
        class_logits = self.training_class_logits(encoded.mask_embeddings, vocabulary, self.train_extra_class)
        criterion = self.make_criterion(len(vocabulary)).to(images.device)
        return rma_losses(criterion, encoded, class_logits, mask_logits, counts, targets)
