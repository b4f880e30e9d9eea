"""Base of MaskCLIP, MasQCLIP and the CLIP baseline: proposals -> mask embeddings -> class scores -> predictions.

Input, a list with one dict per image (Detectron2's format):
    image           (3, H, W) uint8 or float RGB, 0..255
    height, width   size of the predictions in pixels; default: of the image
    instances       only for ground-truth proposals and in training: `gt_masks` and `gt_classes`
Output, one dict per image: the predictions listed in `predictions`, and, if the proposals are the ground truth,
    mask_classification   scores (N, K), gt_classes (N,), gt_masks (N, H, W)
In training, if a subclass has something to learn: a dict of losses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.config import configurable
from torch import Tensor

from ..fusion import ClassScores, MaskView, class_log_probs
from ..losses.class_logits import merge_none_columns
from ..proposer import Proposer, proposer_class
from ..structures import EncodedImage
from ..vocabulary import TextClassifier, Vocabulary
from .encoding import VisualEncoder
from .encoding_model import ImageEncodingModel
from .out_of_memory import on_cpu_if_necessary
from .predictions import fuse, semantic_predictions
from .tasks import Tasks


class OpenVocabularySegmenter(ImageEncodingModel):
    """Composition of a proposer, a visual encoder and a text classifier; subclasses choose the visual encoder.

    Args:
        proposer, visual_encoder: see `ImageEncodingModel`.
        text_classifier: category names -> text embeddings, and the cosine with them.
        tasks: predictions to make.
        extra_class: text of a class that competes in the softmax and is never predicted; None: no such class.
        use_object_score: multiply p_obj into the class probabilities.
        clip_is_loaded: CLIP's weights come from MODEL.MASQCLIP.CLIP.NAME, so a checkpoint may lack them.
        preprocessing: further arguments of `ImageEncodingModel`.
    """

    @configurable
    def __init__(
        self,
        *,
        proposer: Proposer,
        visual_encoder: VisualEncoder,
        text_classifier: TextClassifier,
        tasks: Tasks,
        extra_class: str | None = None,
        use_object_score: bool = False,
        clip_is_loaded: bool = False,
        **preprocessing: Any,
    ) -> None:
        super().__init__(proposer=proposer, visual_encoder=visual_encoder, **preprocessing)
        self.text_classifier = text_classifier
        self.tasks = tasks
        self._configured_topk = tasks.topk
        self.extra_class = extra_class
        self.use_object_score = use_object_score
        # The position embedding of mask class tokens starts as CLIP's.
        of_clip = (r"visual_encoder\.visual\.", r"visual_encoder\.mask_embeddings", r"text_classifier\.")
        of_proposer = (r"proposer\.",) if proposer.has_own_weights else ()
        self.allow_missing = (*of_proposer, *(of_clip if clip_is_loaded else ()))
        # A proposer without parameters ignores the checkpoint's proposer weights.
        self.allow_unexpected = () if any(True for _ in proposer.parameters()) else (r"proposer\.",)
        self.sized_by_weights = tuple(rf"proposer\.{pattern}" for pattern in proposer.sized_by_weights)
        self.vocabulary: Vocabulary | None = None

    @classmethod
    def from_config(cls, cfg) -> dict[str, Any]:
        """Arguments of the constructor; overridden by each subclass."""
        raise NotImplementedError(f"{cls.__name__} needs a class method from_config(cfg) -> arguments.")

    @classmethod
    def evaluation_tasks(cls, cfg) -> tuple[str, ...]:
        """Tasks that a model of this configuration is evaluated on."""
        tasks = Tasks.from_config(cfg).names
        return (*tasks, "mask_classification") if proposer_class(cfg).needs_ground_truth else tasks

    @property
    def trained_names(self) -> tuple[str, ...]:
        """Regular expressions for the parameters that this model's own stage learns."""
        return tuple(re.escape(name) for name, parameter in self.named_parameters() if parameter.requires_grad)

    @property
    def supports_test_time_augmentation(self) -> bool | str:
        """True, or the reason why not."""
        if not self.tasks.semantic:
            return "it predicts no semantic labels; set MODEL.MASK_FORMER.TEST.SEMANTIC_ON True"
        if not self.proposer.supports_resized_images:
            return f"its proposals ({type(self.proposer).__name__}) fit one size of the image only"
        return True

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Set the categories of `forward`."""
        self.vocabulary = vocabulary

    def set_detections_per_image(self, number: int | None) -> None:
        """Set the number of instances per image; None: that of the configuration."""
        self.tasks = replace(self.tasks, topk=self._configured_topk if number is None else number)

    def forward(self, batched_inputs: list[dict]) -> list[dict] | dict[str, Tensor]:
        """See the module docstring.

        Raises:
            RuntimeError: no vocabulary is set, the model is in training mode and has nothing to learn, or memory runs
                out (meta_arch/out_of_memory.py).
        """
        vocabulary = self.require_vocabulary()
        if self.training:
            return self.losses(batched_inputs, vocabulary)
        return [self.predict(encoded, vocabulary) for encoded in self.encode_batch(batched_inputs)]

    def losses(self, batched_inputs: list[dict], vocabulary: Vocabulary) -> dict[str, Tensor]:
        """Losses of this model's stage; overridden by subclasses that learn."""
        raise RuntimeError(f"{type(self).__name__} has nothing to train: evaluate it (--eval-only).")

    @torch.no_grad()
    def predict(self, encoded: EncodedImage, vocabulary: Vocabulary, tasks: Tasks | None = None) -> dict[str, Any]:
        """Classify and fuse the masks of one image; runs neither proposer nor visual encoder.

        Args:
            encoded: result of `encode`.
            vocabulary: the categories.
            tasks: predictions to make; None: those of the configuration.

        Raises:
            RuntimeError: memory runs out, that of the CPU too.
            ValueError: masks of a GPU are not valid, see `MaskProposals.check_values`.
        """
        log_probs = self.class_log_probs(encoded.mask_embeddings, encoded.proposals.object_scores, vocabulary)
        scores = self.class_scores(log_probs, vocabulary)
        found, tasks = encoded.proposals, tasks or self.tasks

        def fused(device: torch.device) -> dict[str, Any]:
            here = found if device == found.mask_logits.device else found.to(device)
            return fuse(scores.to(device), here, vocabulary.is_thing, encoded.output_hw, tasks)

        what = f"{len(found)} masks at {encoded.output_hw[0]} x {encoded.output_hw[1]} pixels"
        predictions = on_cpu_if_necessary(fused, found.mask_logits.device, what)
        found.finish_check()
        if encoded.gt_classes is not None:
            predictions["mask_classification"] = {
                "scores": log_probs[:, : len(vocabulary)],  # in log space small probabilities keep their order
                "gt_classes": encoded.gt_classes,
                "gt_masks": encoded.gt_masks,
            }
        return predictions

    def semantic_view(self, image: Tensor, mirrored: bool = False) -> MaskView:
        """Encode and classify one view of an image for `semantic_predictions`.

        Args:
            image: (3, H, W) RGB 0..255.
            mirrored: encode the image flipped left to right.
        """
        vocabulary = self.require_vocabulary()
        encoded = self.encode({"image": image.flip(-1) if mirrored else image})
        found = encoded.proposals
        found.finish_check()
        log_probs = self.class_log_probs(encoded.mask_embeddings, found.object_scores, vocabulary)
        scores = self.class_scores(log_probs, vocabulary)
        sizes = (found.padded_hw, found.image_hw)
        return MaskView(scores.probs, found.mask_logits, *sizes, mirrored, scores.background_probs)

    def semantic_predictions(self, views: Sequence[MaskView], output_hw: tuple[int, int]) -> dict[str, Any]:
        """Semantic predictions of one image averaged over its views."""
        return semantic_predictions(views, output_hw, self.tasks)

    def embed_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Compute the text embeddings of a vocabulary, which are kept for later predictions.

        Raises:
            ValueError: a prompt is longer than the text encoder's context.
        """
        self.text_classifier.text_embeddings(vocabulary, self.extra_class)

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Raise ValueError if a prompt of a vocabulary is longer than the text encoder's context."""
        self.text_classifier.check_lengths(vocabulary, self.extra_class)

    @torch.no_grad()
    def class_log_probs(self, embeddings: Tensor, object_scores: Tensor | None, vocabulary: Vocabulary) -> Tensor:
        """(Q, C) log probabilities of mask embeddings (Q, E): categories, background prompts, extra class."""
        logits = self.text_classifier.class_logits(embeddings, vocabulary, self.extra_class)
        return class_log_probs(logits, object_scores if self.use_object_score else None)

    def class_scores(self, log_probs: Tensor, vocabulary: Vocabulary) -> ClassScores:
        """Scores of (Q, C) log probabilities; background prompts and the extra class can reject a proposal."""
        num_background = len(vocabulary.background_prompts)
        num_rejecting = log_probs.shape[1] - len(vocabulary) - num_background
        return ClassScores.from_log_probs(log_probs, len(vocabulary), num_rejecting, num_background)

    def training_class_logits(self, embeddings: Tensor, vocabulary: Vocabulary, extra_class: str) -> Tensor:
        """(..., K + 1) class logits of mask embeddings (..., E): the categories, and "none of them" as the last."""
        logits = self.text_classifier.class_logits(embeddings, vocabulary, extra_class)
        return merge_none_columns(logits, len(vocabulary))

    def require_vocabulary(self) -> Vocabulary:
        """The vocabulary of `set_vocabulary`; RuntimeError with a hint if there is none."""
        if self.vocabulary is None:
            raise RuntimeError(
                f"{type(self).__name__} has no vocabulary yet: call model.set_vocabulary(Vocabulary.from_names(...)), "
                "or Vocabulary.from_metadata(MetadataCatalog.get(name)) for a dataset."
            )
        return self.vocabulary
