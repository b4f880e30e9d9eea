"""semantic_labels in plain PyTorch, a band of rows at a time.

Shape shorthand: Q masks, K columns of weights, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..autocast import without_autocast
from ..resize import resize_band, rows_of_image, rows_to_output, source_rows
from .views import LABEL_DTYPES, WeightedMasks

Best = tuple[Tensor, Tensor]
"""The best score of each pixel and its column."""


def semantic_labels_torch(
    views: Sequence[WeightedMasks], output_hw: tuple[int, int], resize_masks_first: bool, tile_size: int
) -> list[tuple[Tensor, Tensor]]:
    """See `semantic_labels`."""
    step = max(1, tile_size // sum(_elements_per_row(view, output_hw) for view in views))
    best_of_band = _best_of_masks if resize_masks_first else _best_of_maps
    device = views[0].mask_logits.device
    found = [
        (torch.empty(output_hw, dtype=dtype, device=device), torch.empty(output_hw, device=device))
        for dtype, _ in zip(LABEL_DTYPES, views[0].weights, strict=False)
    ]
    with without_autocast(device):
        for first in range(0, output_hw[0], step):
            rows = (first, min(first + step, output_hw[0]))
            best = best_of_band(views, output_hw, rows, tile_size)
            for (labels, scores), of_band in zip(found, best, strict=True):
                scores[rows[0] : rows[1]], labels[rows[0] : rows[1]] = of_band
    return found


def _elements_per_row(view: WeightedMasks, output_hw: tuple[int, int]) -> int:
    """Elements of all masks for one row of the result, before or after the last resize; at least 1."""
    rows_in_row = math.ceil(view.image_hw[0] / output_hw[0])
    return max(1, len(view.mask_logits) * rows_in_row * max(view.image_hw[1], output_hw[1]))


def _groups(views: Sequence[WeightedMasks]) -> list[tuple[Tensor, ...]]:
    """For each group of columns the weights of every view."""
    return list(zip(*(view.weights for view in views), strict=True))


def _best_of_masks(
    views: Sequence[WeightedMasks],
    output_hw: tuple[int, int],
    rows: tuple[int, int],
    tile_size: int,
) -> list[Best]:
    """Best score and its column for each group, (rows, W), from masks at output size."""
    probs = [
        view.unflip(rows_to_output(view.mask_logits, view.padded_hw, view.image_hw, output_hw, rows)).sigmoid()
        for view in views
    ]
    pixels = torch.cat(probs).flatten(1).T  # (H * W, Q), Q of all views
    hw = probs[0].shape[-2:]
    groups = [torch.cat(group).float() / len(views) for group in _groups(views)]
    found = [_best_of_pixels(pixels, group, tile_size) for group in groups]
    return [(values.view(hw), labels.view(hw)) for values, labels in found]


def _best_of_pixels(pixels: Tensor, weights: Tensor, tile_size: int) -> Best:
    """Best score and its column, (P,), of pixels (P, Q) and weights (Q, K): weighted sums, a few pixels at a time."""
    step = max(1, tile_size // weights.shape[1])
    # Categories are the last dimension, along which the maximum is twice as fast. One tile is reused for all pixels,
    # since repeated allocation between small results fragments CPU memory.
    tile = weights.new_empty(min(step, len(pixels)), weights.shape[1])
    values, labels = weights.new_empty(len(pixels)), torch.empty(len(pixels), dtype=torch.int64, device=weights.device)
    for first in range(0, len(pixels), step):
        some = slice(first, min(first + step, len(pixels)))
        scores = torch.mm(pixels[some], weights, out=tile[: some.stop - some.start])
        torch.max(scores, dim=1, out=(values[some], labels[some]))
    return values, labels


def _best_of_maps(
    views: Sequence[WeightedMasks],
    output_hw: tuple[int, int],
    rows: tuple[int, int],
    tile_size: int,
) -> list[Best]:
    """Best score and its column for each group, (rows, W), from class maps resized after the sum, a few at a time."""
    bands = [source_rows(view.image_hw[0], output_hw[0], rows) for view in views]
    probs = [
        rows_of_image(view.mask_logits, view.padded_hw, view.image_hw, band).sigmoid()
        for view, band in zip(views, bands, strict=True)
    ]

    def scores_of(weights: Sequence[Tensor]) -> Tensor:
        """(columns, rows, W) of weights (Q, columns) of each view."""
        maps_of_views = []
        for view, band, masks, of_view in zip(views, bands, probs, weights, strict=True):
            maps = torch.einsum("qk,qhw->khw", of_view.float() / len(views), masks)
            maps_of_views.append(view.unflip(resize_band(maps, band[0], view.image_hw[0], output_hw, rows)))
        return sum(maps_of_views[1:], start=maps_of_views[0])

    pixels = max((rows[1] - rows[0]) * output_hw[1], *(masks.shape[-2] * masks.shape[-1] for masks in probs))
    step = max(1, tile_size // pixels)

    def best_of(group: Sequence[Tensor]) -> Best:
        values, labels = scores_of([weights[:, :step] for weights in group]).max(dim=0)
        for first in range(step, group[0].shape[1], step):
            new_values, new_labels = scores_of([weights[:, first : first + step] for weights in group]).max(dim=0)
            labels = torch.where(new_values > values, new_labels + first, labels)  # of equal scores, the lower one
            values = torch.maximum(values, new_values)
        return values, labels

    return [best_of(group) for group in _groups(views)]
