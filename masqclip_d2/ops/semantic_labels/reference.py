"""Reference of semantic_labels: the formula in float32, and the only definition of correct.

Stores a map of scores per column and of logits per mask, (K, H, W) and (Q, H, W).

Shape shorthand: Q masks, K columns of weights, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..autocast import without_autocast
from ..resize import crop_and_resize, masks_to_output, resize_maps
from .views import WeightedMasks


def semantic_labels_reference(
    views: Sequence[WeightedMasks], output_hw: tuple[int, int], resize_masks_first: bool, *_
) -> list[tuple[Tensor, Tensor]]:
    """See `semantic_labels`."""
    found = []
    for group in range(len(views[0].weights)):
        scores, labels = score_maps(views, output_hw, resize_masks_first, group).max(dim=0)
        found.append((labels, scores))
    return found


def score_maps(
    views: Sequence[WeightedMasks], output_hw: tuple[int, int], resize_masks_first: bool, group: int = 0
) -> Tensor:
    """Mean over the views of the scores of a group of columns, (K, H, W) float32; see `semantic_labels`."""
    first, *others = views
    total = _score_maps_of_view(first, output_hw, resize_masks_first, group) / len(views)
    for view in others:
        total += _score_maps_of_view(view, output_hw, resize_masks_first, group) / len(views)
    return total


def _score_maps_of_view(
    view: WeightedMasks, output_hw: tuple[int, int], resize_masks_first: bool, group: int
) -> Tensor:
    if resize_masks_first:
        masks = masks_to_output(view.mask_logits, view.padded_hw, view.image_hw, output_hw)
        return view.unflip(weighted_sum(view.weights[group], masks))
    maps = weighted_sum(view.weights[group], resize_maps(view.mask_logits, view.padded_hw))
    return view.unflip(crop_and_resize(maps, view.image_hw, output_hw))


def weighted_sum(weights: Tensor, mask_logits: Tensor) -> Tensor:
    """sum_q weight_qk sigmoid(mask_q) of weights (Q, K) and logits (Q, H, W): (K, H, W) float32."""
    with without_autocast(mask_logits.device):
        return torch.einsum("qk,qhw->khw", weights.float(), mask_logits.float().sigmoid())
