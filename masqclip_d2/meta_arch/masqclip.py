"""MasQCLIP (Xu et al., ICCV 2023): proposals of a distilled student, and a frozen CLIP whose mask class tokens have a
query projection of their own, learned in stage `masq_tuning`."""

from __future__ import annotations

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..fusion import ClassScores
from ..losses.masq_tuning import assign_batch_labels, masq_tuning_loss
from ..visual_encoder.mask_class_tokens import MaskClassTokenEncoder
from ..visual_encoder.masq_attention import MasqAttention
from ..vocabulary import Vocabulary
from .build import open_vocabulary_arguments
from .open_vocabulary import OpenVocabularySegmenter


@META_ARCH_REGISTRY.register()
class MasQCLIP(OpenVocabularySegmenter):
    """Proposer + mask class tokens with f'_Q + text classifier; input and output as in `open_vocabulary`.

    Args:
        dice_threshold, no_object_weight, loss_weight: see `assign_labels` and `masq_tuning_loss`.
        train_extra_class: text of the class of proposals without a label, in training.
        arguments: see `OpenVocabularySegmenter`.
    """

    @configurable
    def __init__(
        self,
        *,
        dice_threshold: float,
        no_object_weight: float,
        loss_weight: float,
        train_extra_class: str,
        **arguments,
    ) -> None:
        super().__init__(**arguments)
        self.dice_threshold = dice_threshold
        self.no_object_weight = no_object_weight
        self.loss_weight = loss_weight
        self.train_extra_class = train_extra_class

    @classmethod
    def from_config(cls, cfg) -> dict:
        arguments, visual = open_vocabulary_arguments(cfg)
        tuning = cfg.MODEL.MASQCLIP.MASQ_TUNING
        attentions = [MasqAttention(visual.width, tuning.PROJECTIONS) for _ in visual.blocks]
        if tuning.START_AS_CLIP:
            for attention, block in zip(attentions, visual.blocks, strict=True):
                attention.start_as(block)
        encoder = MaskClassTokenEncoder(visual, attentions, zero_is_inside=False, own_position=True)
        encoder.get_parameter("mask_embeddings").requires_grad_(tuning.TRAIN_POSITION)
        return {
            **arguments,
            "visual_encoder": encoder,
            "padding_rgb": (0.0, 0.0, 0.0),  # black, as published for MasQCLIP
            "dice_threshold": tuning.DICE_THRESHOLD,
            "no_object_weight": tuning.NO_OBJECT_WEIGHT,
            "loss_weight": tuning.LOSS_WEIGHT,
            "train_extra_class": tuning.EXTRA_CLASS,
        }

    def class_scores(self, log_probs: Tensor, vocabulary: Vocabulary) -> ClassScores:
        """Scores of (Q, C) log probabilities; the extra class takes its share of the softmax and rejects nothing."""
        return ClassScores.from_log_probs(log_probs, len(vocabulary), len(vocabulary.background_prompts))

    def losses(self, batched_inputs: list[dict], vocabulary: Vocabulary) -> dict[str, Tensor]:
        """{"loss_ce": scalar}, see `losses.masq_tuning`; masks are compared at the encoder's resolution."""
        resolution = self.visual_encoder.visual.input_resolution
        batch = self.training_batch(batched_inputs, (resolution, resolution))
        embeddings = self.visual_encoder(batch.images, batch.mask_logits).mask_embeddings
        class_logits = self.training_class_logits(embeddings, vocabulary, self.train_extra_class)
        labels = assign_batch_labels(
            batch.mask_logits, batch.num_proposals, batch.targets, len(vocabulary), self.dice_threshold
        )
        return {"loss_ce": self.loss_weight * masq_tuning_loss(class_logits, labels, self.no_object_weight)}
