"""Functions in Triton that several kernels call."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_support import INTERPRETING as _INTERPRETING

INTERPRETING = tl.constexpr(_INTERPRETING)
NEGATIVE_LOG2_E = tl.constexpr(-1.4426950408889634)


@triton.jit
def dot(left, right):
    """Matrix product of two tiles, summed in float32; float32 tiles are not rounded to TF32.

    Triton's interpreter multiplies the bit patterns of bfloat16 (versions 3.6 to 3.9), so tiles are float32 there.
    """
    if INTERPRETING:
        return tl.dot(left.to(tl.float32), right.to(tl.float32), input_precision="ieee")
    return tl.dot(left, right, input_precision="ieee")


@triton.jit
def sigmoid(logits):
    """Probabilities of float32 logits."""
    return 1.0 / (1.0 + tl.exp2(logits * NEGATIVE_LOG2_E))


@triton.jit
def resized_masks(
    masks, q, shown, plane, width, y, x, H, W, row_index, row_weight, column_index, column_weight,
    row_taps, column_taps, BLOCK_Q: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    """Logits (BLOCK_Q, BLOCK_W) float32 of masks `q` in row `y` and columns `x` of the output, H x W.

    Masks that are not `shown` (BLOCK_Q,) are not read. Neither are taps of weight 0, since 0 times an infinite logit is
    not 0. The masks (Q, h, w) are contiguous, with plane = h * w and width = w, and have fewer than 2^31 values. Taps
    are (taps, size) as in `resize_taps.py`.
    """
    logits = tl.zeros((BLOCK_Q, BLOCK_W), tl.float32)
    for row_tap in range(row_taps):
        row = tl.load(row_index + row_tap * H + y) * width
        weight_of_row = tl.load(row_weight + row_tap * H + y)
        for column_tap in range(column_taps):
            column = tl.load(column_index + column_tap * W + x, mask=x < W, other=0)
            weight = weight_of_row * tl.load(column_weight + column_tap * W + x, mask=x < W, other=0.0)
            at = (q * plane)[:, None] + (row + column)[None, :]
            pixels = tl.load(masks + at, mask=shown[:, None] & (weight != 0)[None, :], other=0.0)
            logits += weight[None, :] * pixels.to(tl.float32)
    return logits
