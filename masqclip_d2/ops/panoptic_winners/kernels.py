"""panoptic_winners in Triton: masks of a tile of pixels, never of all.

    winner = argmax_q prob_q sigmoid(logit_q) of prob_q >= 0,  logit_q = sum over taps of weight * mask_q

A program handles BLOCK_W columns of ROWS rows, one row after another, and all masks at once. It counts in registers the
pixels of each mask, and adds the counts to the areas at the end; sums of integers do not depend on their order.

Shape shorthand: Q masks, H x W pixels of the output, h x w of the masks.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..triton_functions import resized_masks, sigmoid


@triton.jit
def _panoptic_winners_kernel(
    masks, probs, row_index, row_weight, column_index, column_weight, winners, areas,
    Q, plane, width, H, W, row_taps, column_taps,
    ROWS: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    """winners (H, W) int32; areas (3, Q) int32: won, won and covered, covered; zeroed. Grid (W / BLOCK_W * H / ROWS).

    The three counts of a mask in a column are at most ROWS < 256 and share one number.
    """
    tiles = tl.cdiv(W, BLOCK_W)
    top, x = tl.program_id(0) // tiles * ROWS, tl.program_id(0) % tiles * BLOCK_W + tl.arange(0, BLOCK_W)
    q = tl.arange(0, BLOCK_Q)
    prob = tl.load(probs + q, mask=q < Q, other=-1.0)
    taking_part = prob >= 0
    shown = taking_part[:, None] & (x < W)[None, :]
    pixels = winners + top.to(tl.int64) * W + x
    counts = tl.zeros((BLOCK_Q, BLOCK_W), tl.int32)
    for y in range(top, tl.minimum(top + ROWS, H)):
        logits = resized_masks(
            masks, q, taking_part, plane, width, y, x, H, W,
            row_index, row_weight, column_index, column_weight, row_taps, column_taps, BLOCK_Q, BLOCK_W,
        )  # fmt: skip
        mask_prob = sigmoid(logits)
        score = tl.where(taking_part[:, None], prob[:, None] * mask_prob, -1.0)
        best = tl.max(score, axis=0)
        winner = tl.min(tl.where(score == best[None, :], q[:, None], BLOCK_Q), axis=0)
        covers = (shown & (mask_prob >= 0.5)).to(tl.int32)
        wins = (shown & (q[:, None] == winner[None, :])).to(tl.int32)
        counts += wins + ((wins & covers) << 8) + (covers << 16)
        covered = tl.max(wins & covers, axis=0)
        tl.store(pixels, tl.where(covered > 0, winner, Q), mask=x < W)
        pixels += W
    for kind in tl.static_range(3):
        area = tl.sum((counts >> (8 * kind)) & 255, axis=1)
        tl.atomic_add(areas + kind * Q + q, area, mask=(q < Q) & (area > 0), sem="relaxed")
