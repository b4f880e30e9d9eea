"""MasQCLIP (Xu et al., ICCV 2023): proposals of a distilled student, and a frozen CLIP whose mask class tokens have a
query projection of their own, learned in stage `masq_tuning`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from detectron2.config import configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..fusion import ClassScores, class_log_probs
from ..losses.masq_tuning import assign_batch_labels, masq_tuning_loss
from ..proposer.ground_truth import annotated_proposals
from ..visual_encoder.mask_class_tokens import MaskClassTokenEncoder
from ..visual_encoder.masq_attention import MasqAttention, TunedAndUntunedAttention, TunedAndUntunedEncoder
from ..vocabulary import Vocabulary
from ..vocabulary.vocabulary import fold
from .build import open_vocabulary_arguments
from .open_vocabulary import OpenVocabularySegmenter

_TUNING_MASKS = ("proposals", "ground_truth")


@META_ARCH_REGISTRY.register()
class MasQCLIP(OpenVocabularySegmenter):
    """Proposer + mask class tokens with f'_Q + text classifier; input and output as in `open_vocabulary`.

    Args:
        dice_threshold, no_object_weight, loss_weight: see `assign_labels` and `masq_tuning_loss`.
        train_extra_class: text of the class of proposals without a label, in training.
        tuning_masks: "proposals", or "ground_truth" to learn from the annotated masks.
        untuned_weights: weights of the untuned CLIP in the class probabilities, for categories of `training_names` and
            for others, in [0, 1]; empty: the tuned one alone.
        training_names: names and synonyms of the training categories, folded.
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
        tuning_masks: str = "proposals",
        untuned_weights: Sequence[float] = (),
        training_names: frozenset[str] = frozenset(),
        **arguments,
    ) -> None:
        super().__init__(**arguments)
        if tuning_masks not in _TUNING_MASKS:
            raise ValueError(
                f"MODEL.MASQCLIP.MASQ_TUNING.MASKS is {tuning_masks!r}; expected one of {', '.join(_TUNING_MASKS)}."
            )
        if len(untuned_weights) not in (0, 2) or not all(0 <= weight <= 1 for weight in untuned_weights):
            raise ValueError(
                "MODEL.MASQCLIP.TEST.UNTUNED_WEIGHTS must be [] or two numbers in [0, 1], for training categories and "
                f"others, got {list(untuned_weights)}."
            )
        self.dice_threshold = dice_threshold
        self.no_object_weight = no_object_weight
        self.loss_weight = loss_weight
        self.train_extra_class = train_extra_class
        self.tuning_masks = tuning_masks
        self.untuned_weights = tuple(untuned_weights)
        self.training_names = training_names

    @classmethod
    def from_config(cls, cfg) -> dict:
        arguments, visual = open_vocabulary_arguments(cfg)
        tuning = cfg.MODEL.MASQCLIP.MASQ_TUNING
        weights = cfg.MODEL.MASQCLIP.TEST.UNTUNED_WEIGHTS
        encoder_type = TunedAndUntunedEncoder if weights else MaskClassTokenEncoder
        attention_type = TunedAndUntunedAttention if weights else MasqAttention
        attentions = [attention_type(visual.width, tuning.PROJECTIONS) for _ in visual.blocks]
        if tuning.START_AS_CLIP:
            for attention, block in zip(attentions, visual.blocks, strict=True):
                attention.start_as(block)
        encoder = encoder_type(visual, attentions, zero_is_inside=False, own_position=True)
        encoder.get_parameter("mask_embeddings").requires_grad_(tuning.TRAIN_POSITION)
        return {
            **arguments,
            "visual_encoder": encoder,
            "padding_rgb": (0.0, 0.0, 0.0),  # black, as published for MasQCLIP
            "dice_threshold": tuning.DICE_THRESHOLD,
            "no_object_weight": tuning.NO_OBJECT_WEIGHT,
            "loss_weight": tuning.LOSS_WEIGHT,
            "train_extra_class": tuning.EXTRA_CLASS,
            "tuning_masks": tuning.MASKS,
            "untuned_weights": weights,
            "training_names": _training_names(cfg.DATASETS.TRAIN) if weights else frozenset(),
        }

    @torch.no_grad()
    def class_log_probs(self, embeddings: Tensor, object_scores: Tensor | None, vocabulary: Vocabulary) -> Tensor:
        """See `OpenVocabularySegmenter`; with `untuned_weights`, of (Q, 2, E) embeddings, tuned and untuned."""
        if not self.untuned_weights:
            return super().class_log_probs(embeddings, object_scores, vocabulary)
        logits = self.text_classifier.class_logits(embeddings, vocabulary, self.extra_class)  # (Q, 2, C)
        tuned, untuned = logits.float().log_softmax(dim=-1).unbind(1)
        weight = torch.full(tuned.shape[-1:], self.untuned_weights[0], device=tuned.device)  # (C,)
        for index, names in enumerate(vocabulary.synonyms):
            if not self.training_names.intersection(fold(name) for name in names):
                weight[index] = self.untuned_weights[1]
        mean = (1 - weight) * tuned + weight * untuned  # log of the geometric mean
        return class_log_probs(mean, object_scores if self.use_object_score else None)

    def class_scores(self, log_probs: Tensor, vocabulary: Vocabulary) -> ClassScores:
        """Scores of (Q, C) log probabilities; the extra class takes its share of the softmax and rejects nothing."""
        return ClassScores.from_log_probs(log_probs, len(vocabulary), 0, len(vocabulary.background_prompts))

    def losses(self, batched_inputs: list[dict], vocabulary: Vocabulary) -> dict[str, Tensor]:
        """{"loss_ce": scalar}, see `losses.masq_tuning`; masks are compared at the encoder's resolution."""
        resolution = self.visual_encoder.visual.input_resolution
        given = None
        if self.tuning_masks == "ground_truth":
            given = [annotated_proposals(record).to(self.device) for record in batched_inputs]
        batch = self.training_batch(batched_inputs, (resolution, resolution), given)
        embeddings = self.visual_encoder(batch.images, batch.mask_logits).mask_embeddings
        if self.untuned_weights:
            embeddings = embeddings[:, :, 0]
        class_logits = self.training_class_logits(embeddings, vocabulary, self.train_extra_class)
        labels = assign_batch_labels(
            batch.mask_logits, batch.num_proposals, batch.targets, len(vocabulary), self.dice_threshold
        )
        return {"loss_ce": self.loss_weight * masq_tuning_loss(class_logits, labels, self.no_object_weight)}


def _training_names(dataset_names: Iterable[str]) -> frozenset[str]:
    """Names and synonyms, folded, of the categories of datasets."""
    vocabularies = [Vocabulary.from_metadata(MetadataCatalog.get(name)) for name in dataset_names]
    return frozenset(fold(name) for one in vocabularies for names in one.synonyms for name in names)
