"""Test-time augmentation of semantic answers: an image at several sizes and in the mirror, scores averaged.

Keys TEST.AUG.{MIN_SIZES, MAX_SIZE, FLIP} of Detectron2. Panoptic and instance answers are not made of averages over
pixels, so there are none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge, apply_augmentations
from torch import Tensor, nn


class SemanticWithAugmentation(nn.Module):
    """Answers as the model does, semantic ones alone, from all views of each image.

    The score of a category at a pixel is the mean over views of its score at the size of the answer. A sum of masks
    that are weighted by their class probabilities is linear in its proposals, so the mean over views is one such sum
    over the proposals of all views: label maps are made band by band as without augmentation, and what grows with the
    number of views is their masks at low resolution (20 MB for 100 masks of 200 x 256), whatever the number of words.
    Only `sem_seg`, where MODEL.MASQCLIP.TEST.CLASS_MAPS asks for it, needs K floats per pixel, twice.

    Args:
        model: answers one view; its vocabulary and tasks are looked at when an image is answered.
        min_sizes: shorter side of each view, pixels.
        max_size: longest side of a view, pixels.
        flip: see each view in the mirror (left is right) too.

    Raises:
        ValueError: the model gives no semantic answers, or its masks are those of the ground truth, which has one size.
    """

    def __init__(self, model: nn.Module, min_sizes: Sequence[int], max_size: int, flip: bool) -> None:
        super().__init__()
        supported = getattr(model, "supports_test_time_augmentation", "it predicts no semantic labels")
        if supported is not True:
            raise ValueError(f"TEST.AUG.ENABLED is not possible for {type(model).__name__}: {supported}.")
        if not min_sizes or min(min_sizes) < 1 or max_size < 1:
            raise ValueError(
                f"TEST.AUG.MIN_SIZES is {tuple(min_sizes)} and TEST.AUG.MAX_SIZE {max_size}; expected at least one "
                "size, all of them at least 1 pixel."
            )
        self.model = model
        self.resizes = [ResizeShortestEdge(size, max_size, "choice") for size in min_sizes]
        self.flip = flip

    @classmethod
    def from_config(cls, cfg, model: nn.Module) -> SemanticWithAugmentation:
        aug = cfg.TEST.AUG
        return cls(model, aug.MIN_SIZES, aug.MAX_SIZE, aug.FLIP)

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """See the module docstring of `open_vocabulary`; of the answers, those that begin with `sem_seg`.

        Images are best given as they are on disk, since they are resized here.
        """
        return [self._answer(record) for record in batched_inputs]

    def _answer(self, record: dict) -> dict[str, Tensor]:
        image = record["image"]
        output_hw = (record.get("height", image.shape[-2]), record.get("width", image.shape[-1]))
        views = []
        for resize in self.resizes:
            resized = _resized(image, resize)
            views += [self.model.semantic_view(resized, flip) for flip in ((False, True) if self.flip else (False,))]
        return self.model.semantic_predictions(views, output_hw)


def _resized(image: Tensor, resize: ResizeShortestEdge) -> Tensor:
    """(3, H, W) -> (3, h, w), as the mapper of a test set resizes."""
    pixels, _ = apply_augmentations([resize], image.permute(1, 2, 0).cpu().numpy())
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
