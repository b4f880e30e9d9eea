"""semantic_labels with the kernel of `kernels.py`, as an operator of torch: fake tensors, export, compile.

Labels have no gradients, and the operator none for the scores either. Importing this module needs triton.

Shape shorthand: Q masks, K columns of weights, G groups of columns, H x W pixels of the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..resize_taps import axis_taps
from ..triton_support import kernel_op, power_of_two
from . import kernels as _kernels
from .views import WeightedMasks

kernels: Any = _kernels  # type checkers do not know how triton.jit changes a function

# Powers of two that use the range of float16: weights may be up to 16.
_WEIGHT_SCALE, _PROB_SCALE = 2.0**12, 2.0**15


class _Tile(NamedTuple):
    """What a program computes at once."""

    pixels: int
    columns: int
    num_warps: int
    num_stages: int


def semantic_labels_triton(
    view: WeightedMasks, output_hw: tuple[int, int], resize_masks_first: bool, tile_size: int
) -> list[tuple[Tensor, Tensor]]:
    """See `semantic_labels`; one view, masks are resized first, and nothing has `tile_size`."""
    masks, weights, *frame = view
    labels, scores = torch.ops.masqclip.semantic_labels(masks, list(weights), *frame, output_hw)
    return [(labels[group], scores[group]) for group in range(len(weights))]


@kernel_op("masqclip::semantic_labels")
def _semantic_labels(
    mask_logits: Tensor,
    weights: Sequence[Tensor],
    padded_hw: Sequence[int],
    image_hw: Sequence[int],
    flipped: bool,
    output_hw: Sequence[int],
) -> tuple[Tensor, Tensor]:
    labels, scores = _empty_maps(mask_logits, weights, output_hw)
    num_masks, (height, width) = len(mask_logits), output_hw
    if num_masks == 0:
        return labels.zero_(), scores.zero_()
    block, rest = _blocks(num_masks)
    tile = _tile(block + rest)
    high, low = _packed(weights, block + rest, tile.columns)
    rows, columns = axis_taps(mask_logits, padded_hw, image_hw, output_hw, flipped)
    num_columns = [one.shape[1] for one in weights]
    kernels._semantic_labels_kernel[(-(-width // tile.pixels) * height,)](
        mask_logits.contiguous(), high, low, *rows, *columns, labels, scores,
        num_masks, num_columns[0], num_columns[-1], len(weights), high.shape[1], mask_logits.shape[1:].numel(),
        mask_logits.shape[2], height, width, len(rows.weights), len(columns.weights), 1 / (_WEIGHT_SCALE * _PROB_SCALE),
        SCALE=_PROB_SCALE, BLOCK_Q=block, REST_Q=rest, BLOCK_K=tile.columns, BLOCK_W=tile.pixels,
        num_warps=tile.num_warps, num_stages=tile.num_stages,
    )  # fmt: skip
    return labels, scores


@_semantic_labels.register_fake
def _(mask_logits, weights, padded_hw, image_hw, flipped, output_hw) -> tuple[Tensor, Tensor]:
    return _empty_maps(mask_logits, weights, output_hw)


def _empty_maps(mask_logits: Tensor, weights: Sequence[Tensor], output_hw: Sequence[int]) -> tuple[Tensor, Tensor]:
    size = (len(weights), *output_hw)
    return mask_logits.new_empty(size, dtype=torch.int32), mask_logits.new_empty(size, dtype=torch.float32)


def _blocks(num_masks: int) -> tuple[int, int]:
    """Two powers of two, of which the second may be 0, whose sum is at least the number of masks: 300 -> 256 + 64."""
    whole = power_of_two(num_masks)
    rest = power_of_two(num_masks - whole // 2)
    return (whole // 2, rest) if whole > 16 and whole // 2 + rest < whole else (whole, 0)


def _tile(num_rows: int) -> _Tile:
    """Tile for this number of masks: without spilled registers for compute capabilities 8.0 and 9.0."""
    if num_rows <= 128:
        return _Tile(pixels=64, columns=64, num_warps=8, num_stages=3)
    if num_rows <= 384:
        return _Tile(pixels=32, columns=64, num_warps=8, num_stages=2)
    return _Tile(pixels=16, columns=32, num_warps=4, num_stages=2)


def _packed(weights: Sequence[Tensor], num_rows: int, block: int) -> tuple[Tensor, Tensor]:
    """High and low part (num_rows, columns) float16 of scaled weights, each group padded to a multiple of `block`."""
    padded = [-(-one.shape[1] // block) * block for one in weights]
    packed = weights[0].new_zeros((num_rows, sum(padded)), dtype=torch.float32)
    for one, columns in zip(weights, packed.split(padded, dim=1), strict=True):
        columns[: len(one), : one.shape[1]] = one
    packed *= _WEIGHT_SCALE
    high = packed.half()
    return high, (packed - high.float()).half()
