"""Area, mean score and box of each label of a label map, without waiting for a GPU.

Shape shorthand: L labels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .boxes import boxes_of_occupied

_BAND_SIZE = 1_000_000  # pixels of the map at a time; each takes some tens of bytes


@dataclass(frozen=True)
class LabelRegions:
    """Pixels of each label.

    Args:
        areas: (L,) int64 pixels.
        mean_scores: (L,) float32; 0 for a label without pixels.
        boxes_xyxy: (L, 4) float32 in pixels, x2 and y2 one past the last pixel; zeros for a label without pixels.
    """

    areas: Tensor
    mean_scores: Tensor
    boxes_xyxy: Tensor


def label_regions(labels: Tensor, counted: Tensor, scores: Tensor, num_labels: int) -> LabelRegions:
    """Regions of a label map.

    Args:
        labels: (H, W) int in [0, L).
        counted: (H, W) bool, the pixels that count.
        scores: (H, W) float of the pixels.
        num_labels: L.
    """
    height, width = labels.shape
    device = labels.device
    areas = torch.zeros(num_labels + 1, dtype=torch.int64, device=device)  # the last one of pixels that do not count
    sums = torch.zeros(num_labels + 1, dtype=torch.float64, device=device)
    rows_occupied = torch.zeros(num_labels + 1, height, dtype=torch.bool, device=device)
    columns_occupied = torch.zeros(num_labels + 1, width, dtype=torch.bool, device=device)
    step = max(1, _BAND_SIZE // max(1, width))
    columns = torch.arange(width, device=device)
    for first in range(0, height, step):
        band = slice(first, min(first + step, height))
        index = torch.where(counted[band], labels[band], num_labels).long()  # (rows, W)
        areas.scatter_add_(0, index.flatten(), torch.ones_like(index).flatten())
        sums.scatter_add_(0, index.flatten(), scores[band].flatten().double())
        rows = torch.arange(band.start, band.stop, device=device)
        rows_occupied[index, rows[:, None].expand_as(index)] = True
        columns_occupied[index, columns.expand_as(index)] = True
    means = (sums / areas.clamp_min(1)).float()
    boxes = boxes_of_occupied(rows_occupied, columns_occupied)
    return LabelRegions(areas[:-1], means[:-1], boxes[:-1])
