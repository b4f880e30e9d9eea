"""Semantic label maps: the best column of weights at each pixel, without a map per column or mask.

Shape shorthand: Q masks, K columns of weights, H x W pixels of the output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..output_masks import TILE_SIZE
from ..resize_taps import masks_problem
from ..selection import dtype_problem, select_implementation
from .fast import semantic_labels_torch
from .reference import score_maps, semantic_labels_reference, weighted_sum
from .views import LABEL_DTYPES, WeightedMasks

__all__ = ["WeightedMasks", "score_maps", "semantic_labels", "semantic_labels_reference", "weighted_sum"]

MAX_MASKS = 512  # of the kernel, which keeps all masks of a tile of pixels on the chip


def _semantic_labels_triton(views: Sequence[WeightedMasks], *arguments) -> list[tuple[Tensor, Tensor]]:
    from .operator import semantic_labels_triton

    return semantic_labels_triton(views[0], *arguments)


IMPLEMENTATIONS = {
    "reference": semantic_labels_reference,
    "torch": semantic_labels_torch,
    "triton": _semantic_labels_triton,
}


@torch.no_grad()
def semantic_labels(
    views: Sequence[WeightedMasks],
    output_hw: tuple[int, int],
    resize_masks_first: bool = True,
    tile_size: int = TILE_SIZE,
    implementation: str | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """The best column of each pixel: argmax_k sum_q weight_qk sigmoid(mask_q), and its score; the mean over the views.

    The kernels take one view and resize masks first. They are as exact as float32 where a logit is above -20; see
    `kernels.py`.

    Args:
        views: at least one, with the same columns in each group.
        output_hw: (height, width) of the result in pixels.
        resize_masks_first: resize masks to the output size, then sum them; False: sum them at padded size, then crop
            and resize the sums.
        tile_size: elements of each of a few temporary tensors of the torch implementation, which works in bands of
            rows: its memory besides arguments and result does not grow with H x W, Q or K, unless a single row needs
            more.
        implementation: "auto", "reference", "torch" or "triton"; None: MASQCLIP_OPS, see `masqclip_d2.ops.selection`.

    Returns:
        For each group labels (H, W), int64 for the first and int32 for the second, and scores (H, W) float32. Of equal
        scores, such as without masks, the lowest label. There are no gradients.

    Raises:
        ValueError: shapes disagree, a group has no columns, or there is no such implementation.
    """
    _check(views)
    unsupported = _unsupported(views, resize_masks_first)
    device = views[0].mask_logits.device
    compute = select_implementation("semantic_labels", IMPLEMENTATIONS, device, implementation, unsupported)
    found = compute(views, output_hw, resize_masks_first, tile_size)
    return [(labels.to(dtype), scores) for (labels, scores), dtype in zip(found, LABEL_DTYPES, strict=False)]


def _check(views: Sequence[WeightedMasks]) -> None:
    """Raise ValueError unless masks and weights fit."""
    columns = [[weights.shape[-1] for weights in view.weights] for view in views]
    if not columns or not 1 <= len(columns[0]) <= len(LABEL_DTYPES) or any(one != columns[0] for one in columns):
        raise ValueError(f"Views must have the same one or two groups of columns, got {columns} columns.")
    if min(columns[0]) == 0:
        raise ValueError("A group of weights has no columns.")
    for view in views:
        for weights in view.weights:
            if view.mask_logits.dim() != 3 or weights.dim() != 2 or weights.shape[0] != view.mask_logits.shape[0]:
                raise ValueError(
                    "Expected weights (Q, K) and mask_logits (Q, h, w) of the same Q masks, got "
                    f"{tuple(weights.shape)} and {tuple(view.mask_logits.shape)}."
                )
        if any(map(int.__gt__, view.image_hw, view.padded_hw)):
            raise ValueError(f"An image of {view.image_hw} is not inside a padded input of {view.padded_hw}.")


def _unsupported(views: Sequence[WeightedMasks], resize_masks_first: bool) -> str:
    if not resize_masks_first:
        return "its kernel resizes masks, and resize_masks_first=False resizes their sums"
    if len(views) > 1:
        # All of their masks would have to be on the chip at once, or be resized again for each block of columns.
        return f"its kernel takes one view, not {len(views)}"
    (view,) = views
    return masks_problem(view.mask_logits, MAX_MASKS) or dtype_problem(view.mask_logits, *view.weights)
