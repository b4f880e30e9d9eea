"""semantic_labels in Triton: mask probabilities and scores of a tile of pixels, never of all.

    label = argmax_k sum_q weight_qk sigmoid(logit_q),  logit_q = sum over taps of weight * mask_q

A program handles BLOCK_W pixels of a row. It gathers the logits of all masks from their own resolution, and multiplies
the probabilities with BLOCK_K columns of weights after another; the best score of each row of the product, and its
label, stay in registers. Of equal scores the lowest label wins.

Products run on tensor cores in float16, yet as exactly as in float32: a value is the sum of two float16 numbers, v =
high + low, with a relative error of at most 2^-22, and

    a b = a_high b_high + a_high b_low + a_low b_high

leaves out only a_low b_low, 2^-22 of the product. Sums are float32. Values are scaled by powers of two first, which is
exact, so that small ones keep their bits in float16. Smaller ones than 2^-39 become 0: where the logits of all masks
are below -27, the label is 0 and so is the score, in place of the best of scores below 1e-12.

Three products in place of one, because labels would show the error of one: with random masks and CLIP-like
probabilities (100 masks; 150, 847 and 10,000 columns), one float16 number per value changes 0.5 %, 3 % and 15 % of the
labels, where the two best scores differ by up to 7e-4. Two numbers per value change at most 1 label in 40,000, where
scores differ by 2e-7; so does float32.

Shape shorthand: Q masks, K columns of weights, H x W pixels of the output, h x w of the masks.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..triton_functions import dot, resized_masks, sigmoid


@triton.jit
def _probabilities(
    masks, q, Q, plane, width, y, x, H, W, row_index, row_weight, column_index, column_weight, row_taps, column_taps,
    SCALE: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    """SCALE times the mask probabilities, (BLOCK_W, BLOCK_Q), as two float16 tiles; q >= Q has weight 0."""
    logits = resized_masks(
        masks, q, q < Q, plane, width, y, x, H, W,
        row_index, row_weight, column_index, column_weight, row_taps, column_taps, BLOCK_Q, BLOCK_W,
    )  # fmt: skip
    probs = tl.trans(SCALE * sigmoid(logits))
    high = probs.to(tl.float16)
    return high, (probs - high.to(tl.float32)).to(tl.float16)


@triton.jit
def _product(probs_high, probs_low, weights_high, weights_low, at):
    """Product of pairs of tiles without low times low, smallest terms first; weights are loaded."""
    high, low = tl.load(weights_high + at), tl.load(weights_low + at)
    scores = dot(probs_low, high)
    scores += dot(probs_high, low)
    scores += dot(probs_high, high)
    return scores


@triton.jit
def _semantic_labels_kernel(
    masks, weights_high, weights_low, row_index, row_weight, column_index, column_weight, labels, scores,
    Q, first_columns, second_columns, groups, stride_weight, plane, width, H, W, row_taps, column_taps, unscale,
    SCALE: tl.constexpr, BLOCK_Q: tl.constexpr, REST_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    """labels (groups, H, W) int32 and scores float32; grid (W / BLOCK_W * H).

    Weights are (BLOCK_Q + REST_Q, stride_weight) float16, zeros from mask Q on. They have one or two groups of columns,
    each padded with zeros to a multiple of BLOCK_K.
    """
    tiles = tl.cdiv(W, BLOCK_W)
    y, x = tl.program_id(0) // tiles, tl.program_id(0) % tiles * BLOCK_W + tl.arange(0, BLOCK_W)
    q, k = tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_K)
    high, low = _probabilities(
        masks, q, Q, plane, width, y, x, H, W, row_index, row_weight, column_index, column_weight,
        row_taps, column_taps, SCALE, BLOCK_Q, BLOCK_W,
    )  # fmt: skip
    if REST_Q:
        rest = tl.arange(0, REST_Q)
        rest_high, rest_low = _probabilities(
            masks, BLOCK_Q + rest, Q, plane, width, y, x, H, W, row_index, row_weight, column_index, column_weight,
            row_taps, column_taps, SCALE, REST_Q, BLOCK_W,
        )  # fmt: skip
    for group in range(groups):
        columns = tl.where(group == 0, first_columns, second_columns)
        start = tl.where(group == 0, 0, tl.cdiv(first_columns, BLOCK_K) * BLOCK_K)
        best = tl.full((BLOCK_W, BLOCK_K), -1.0, tl.float32)
        label = tl.zeros((BLOCK_W, BLOCK_K), tl.int32)
        for first in range(0, columns, BLOCK_K):
            column = start + first + k
            products = _product(high, low, weights_high, weights_low, q[:, None] * stride_weight + column[None, :])
            if REST_Q:
                at = (BLOCK_Q + rest)[:, None] * stride_weight + column[None, :]
                products += _product(rest_high, rest_low, weights_high, weights_low, at)
            better = products > best
            best = tl.where(better, products, best)
            label = tl.where(better, first, label)
        label += k[None, :]
        best = tl.where(label < columns, best, -1.0)  # columns of padding have score 0
        top = tl.max(best, axis=1)
        winner = tl.min(tl.where((best == top[:, None]) & (label < columns), label, columns), axis=1)
        at = (group * H + y).to(tl.int64) * W + x
        tl.store(labels + at, tl.minimum(winner, columns - 1), mask=x < W)
        tl.store(scores + at, top * unscale, mask=x < W)
