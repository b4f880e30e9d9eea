"""Sample binary masks at points without a float copy of the masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class PointSampledMasks:
    """T binary masks of one size that are sampled bilinearly.

    Equal to `detectron2.projects.point_rend.point_features.point_sample(..., align_corners=False)`: a point (x, y) in
    [0, 1] is at column x * W - 1/2 and row y * H - 1/2, with pixels at integers and zeros outside the mask. That
    function needs a float copy of all masks per prediction, which is four times the memory.

    Args:
        masks: (T, H, W) bool or 0/1.
    """

    def __init__(self, masks: Tensor) -> None:
        self._num_masks, self._height, self._width = masks.shape
        # A border of zeros replaces the test whether neighbors are inside.
        self._pixels = F.pad(masks.bool().to(torch.uint8), (1, 1, 1, 1)).flatten()

    def __len__(self) -> int:
        return self._num_masks

    def sample(self, which: Tensor, points: Tensor) -> Tensor:
        """Sample mask `which[m]` at the points of row m.

        Args:
            which: (M,) int64 indices of masks.
            points: (M, P, 2) float, (x, y) in [0, 1].

        Returns:
            (M, P) float in [0, 1].
        """
        x, y = points[..., 0] * self._width + 0.5, points[..., 1] * self._height + 0.5  # in the bordered mask
        left, top = x.long(), y.long()
        row_length = self._width + 2
        pixel = which[:, None] * (row_length * (self._height + 2)) + top * row_length + left
        upper = torch.lerp(self._read(pixel), self._read(pixel + 1), x - left)
        lower = torch.lerp(self._read(pixel + row_length), self._read(pixel + row_length + 1), x - left)
        return torch.lerp(upper, lower, y - top)

    def _read(self, pixel: Tensor) -> Tensor:
        return self._pixels.index_select(0, pixel.flatten()).view_as(pixel).float()
