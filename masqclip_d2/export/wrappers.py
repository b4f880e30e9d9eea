"""The parts of a model as modules with tensors in and tensors out, for one image.

They only connect what the model itself calls: the proposer, the visual encoder, its preprocessing, the class logits.

Shape shorthand: H, W pixels of the image, Q mask proposals, Hm x Wm the resolution of the masks, T rows of text
embeddings, E embedding, R input resolution of CLIP.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..meta_arch.encoding import EncoderInput
from ..meta_arch.open_vocabulary import OpenVocabularySegmenter
from ..proposer import Proposer
from ..structures import masks_in_window
from ..vocabulary import class_logits


class ExportedProposer(nn.Module):
    """The proposer.

    Args:
        proposer: has `preprocess` and `predict_masks`, see `Mask2FormerProposer`.
    """

    def __init__(self, proposer: Proposer) -> None:
        super().__init__()
        self.proposer: Any = proposer

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Propose masks.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            object_scores: (Q,) float32 in [0, 1].
            mask_logits: (Q, Hm, Wm) float32; a pixel is inside where the logit is positive.
            mask_extent: (2,) int64, height and width in pixels of the image that the masks cover, from its top left
                corner; larger than the image if the proposer pads it.
        """
        batch = self.proposer.preprocess([image.permute(2, 0, 1)])
        mask_logits, object_scores = self.proposer.predict_masks(batch)
        return object_scores[0], mask_logits[0], _size(batch.shape[-2:])


class ExportedClassifier(nn.Module):
    """Visual encoder and class logits.

    Args:
        model: its visual encoder, color of the padding and logit scale are used.
    """

    def __init__(self, model: OpenVocabularySegmenter) -> None:
        super().__init__()
        self.visual_encoder: Any = model.visual_encoder
        self.logit_scale: Tensor
        self.register_buffer("logit_scale", model.text_classifier.logit_scale.detach().float())

    def forward(
        self, image: Tensor, mask_logits: Tensor, mask_extent: Tensor, text_embeddings: Tensor
    ) -> tuple[Tensor, ...]:
        """Classify masks.

        Args:
            image: (H, W, 3) uint8 RGB.
            mask_logits, mask_extent: see `ExportedProposer.forward`; of masks from elsewhere: 10 inside and -10
                outside, and the size of the image.
            text_embeddings: (T, E) float32 unit rows.

        Returns:
            class_logits: (Q, T) float32, cosine similarities times the logit scale.
            refined_mask_logits: (Q, R, R) float32, covering the image; only of an encoder that refines masks.
        """
        visual = self.visual_encoder.visual
        entered = _encoder_input(image, mask_logits, mask_extent, visual)
        encoded = self.visual_encoder(entered.image[None], entered.mask_logits[None])
        logits = class_logits(encoded.mask_embeddings[0], text_embeddings, self.logit_scale)
        return (logits, *(masks[0] for masks in encoded.refined_mask_logits[-1:]))


class ExportedModel(nn.Module):
    """Proposer and classifier."""

    def __init__(self, model: OpenVocabularySegmenter) -> None:
        super().__init__()
        self.proposer = ExportedProposer(model.proposer)
        self.classifier = ExportedClassifier(model)

    def forward(self, image: Tensor, text_embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Segment an image; arguments and results as of the two parts, masks refined if the encoder refines them."""
        object_scores, mask_logits, extent = self.proposer(image)
        logits, *refined = self.classifier(image, mask_logits, extent, text_embeddings)
        if refined:
            return logits, object_scores, refined[0], _size(image.shape[:2])
        return logits, object_scores, mask_logits, extent


def _encoder_input(image: Tensor, mask_logits: Tensor, mask_extent: Tensor, visual: Any) -> EncoderInput:
    """As `meta_arch.encoding.encoder_input` for an image without padding, but with sizes that may be symbolic."""
    resolution, (height, width) = visual.input_resolution, image.shape[:2]
    square, window = (resolution, resolution), (0, 0, height, width)
    masks = masks_in_window(mask_logits, square, window, mask_extent.float().unbind())
    return EncoderInput(visual.preprocessing.image(image.permute(2, 0, 1), resolution), masks, (height, width))


def _size(sides: torch.Size) -> Tensor:
    """(2,) int64."""
    return torch.stack([torch.full((), side, dtype=torch.int64) for side in sides])
