"""Test-time augmentation of semantic predictions: an image at several sizes and mirrored, scores averaged.

Keys TEST.AUG.{MIN_SIZES, MAX_SIZE, FLIP} of Detectron2. There are no panoptic and instance predictions, since these
cannot be averaged over pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge, apply_augmentations
from torch import Tensor, nn

from ..data.images import channels_first
from .protocols import PredictsSemanticViews


class SemanticWithAugmentation(nn.Module):
    """A model whose semantic predictions are averaged over several views of each image.

    The score of a category at a pixel is the mean of its scores over the views, at the size of the prediction. For the
    models of this package memory grows by the low-resolution masks of each view (20 MB for 100 masks of 200 x 256),
    whatever the size of the vocabulary: a sum of masks weighted by class probabilities is linear in its proposals, so
    the mean over views is one such sum over the proposals of all views.

    Args:
        model: follows `protocols.PredictsSemanticViews`.
        min_sizes: shorter side of each view, pixels.
        max_size: longest side of a view, pixels.
        flip: add the mirrored image of each size.

    Raises:
        ValueError: the model does not support it, or a size is not positive.
    """

    def __init__(self, model: nn.Module, min_sizes: Sequence[int], max_size: int, flip: bool) -> None:
        super().__init__()
        supported = getattr(model, "supports_test_time_augmentation", True)
        if not isinstance(model, PredictsSemanticViews):
            supported = "it has no methods semantic_view and semantic_predictions"
        if not isinstance(model, PredictsSemanticViews) or supported is not True:
            raise ValueError(
                f"{type(model).__name__} does not support test-time augmentation: {supported}. Otherwise set "
                "TEST.AUG.ENABLED False."
            )
        if not min_sizes or min(min_sizes) < 1 or max_size < 1:
            raise ValueError(
                f"TEST.AUG.MIN_SIZES is {tuple(min_sizes)} and TEST.AUG.MAX_SIZE {max_size}; expected at least one "
                "size, and every size at least 1 pixel."
            )
        self.model: PredictsSemanticViews = model
        self.resizes = [ResizeShortestEdge(size, max_size, "choice") for size in min_sizes]
        self.flip = flip

    @classmethod
    def from_config(cls, cfg, model: nn.Module) -> SemanticWithAugmentation:
        aug = cfg.TEST.AUG
        return cls(model, aug.MIN_SIZES, aug.MAX_SIZE, aug.FLIP)

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """The semantic predictions of each image; input as of the model.

        Images should have their original size, since they are resized here.
        """
        return [self._predict(record) for record in batched_inputs]

    def _predict(self, record: dict) -> dict[str, Tensor]:
        image = record["image"]
        output_hw = (record.get("height", image.shape[-2]), record.get("width", image.shape[-1]))
        views = []
        mirrorings = (False, True) if self.flip else (False,)
        for resize in self.resizes:
            resized = _resized(image, resize)
            views += [self.model.semantic_view(resized, mirrored) for mirrored in mirrorings]
        return self.model.semantic_predictions(views, output_hw)


def _resized(image: Tensor, resize: ResizeShortestEdge) -> Tensor:
    """(3, H, W) -> (3, h, w), as the mapper of a test set resizes."""
    pixels, _ = apply_augmentations([resize], image.permute(1, 2, 0).cpu().numpy())
    assert isinstance(pixels, np.ndarray)  # an array in, an array out
    return channels_first(pixels)
