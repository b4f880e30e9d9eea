"""WeightedMasks: the masks of one view of an image, and the weights of their sums."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LABEL_DTYPES = (torch.int64, torch.int32)
"""Of the labels of the first and of the second group of columns."""


class WeightedMasks(NamedTuple):
    """Masks of one view of an image and the weights of their sums. Test-time augmentation has several views.

    Args:
        mask_logits: (Q, h, w) float, covering `padded_hw`.
        weights: one or two groups of columns, (Q, K) each, in [0, 1].
        padded_hw, image_hw: (height, width) in pixels of the padded input and of the image in its top left corner.
        flipped: the view is flipped left to right.
    """

    mask_logits: Tensor
    weights: tuple[Tensor, ...]
    padded_hw: tuple[int, int]
    image_hw: tuple[int, int]
    flipped: bool = False

    def unflip(self, maps: Tensor) -> Tensor:
        """Maps (..., W) of the view -> maps of the image."""
        return maps.flip(-1) if self.flipped else maps
