"""relative_scores in Triton: the pixels of every mask are read once, and mask patch tokens are never made.

As in `fast.py`, with x_ij the tanh of the p * p pixels of mask i in patch j, followed by a constant 1:

    A'_ij = (x_ij . u_j) rsqrt(x_ij^T G x_ij + eps) + constant_j

u_j (p * p + 1, N) is W^T (gamma k'_j) of each head, G = W^T W / D of the centered weight, and constant_j the term of
the norm's bias. The variance is the squared length of `root`^T x_ij, with root root^T = G, so that rounding cannot make
it negative.

Rows of `root` and u are padded with zeros to ROWS, their columns to BLOCK_C and BLOCK_N, so that loads need no masks.

Shape shorthand: B images, Q masks, P patches (row by row), N heads, PIXELS = PATCH * PATCH = p * p.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..triton_functions import dot

NEGATIVE_TWICE_LOG2_E = tl.constexpr(-2.8853900817779268)


@triton.jit
def _forward_kernel(
    masks, root, linear, constant, scores, Q, P, columns, image_width, plane, eps, scale,
    PATCH: tl.constexpr, PIXELS: tl.constexpr, ROWS: tl.constexpr, N: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr, CLASS_TOKEN: tl.constexpr,
):  # fmt: skip
    """scores (B, N, Q, P), with CLASS_TOKEN (B, N, Q, 1 + P) and zeros in the first column; times `scale`.

    linear (B, P, ROWS, BLOCK_N); constant (B, P, N); grid (P, Q / BLOCK_M, B).
    """
    j, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    i = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    live, head, column = i < Q, tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_C)
    corner = masks + (b * Q * plane + (j // columns) * (PATCH * image_width) + (j % columns) * PATCH)
    of_patch = linear + (b * P + j) * (ROWS * BLOCK_N)
    length = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    products = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(0, ROWS, BLOCK_K):
        t = first + tl.arange(0, BLOCK_K)
        pixels = tl.load(
            corner + i[:, None] * plane + ((t // PATCH) * image_width + t % PATCH)[None, :],
            mask=live[:, None] & (t < PIXELS)[None, :], other=0.0,
        ).to(tl.float32)  # fmt: skip
        pixels = 2.0 / (1.0 + tl.exp2(pixels * NEGATIVE_TWICE_LOG2_E)) - 1.0  # tanh
        pixels = tl.where((t == PIXELS)[None, :], 1.0, pixels)
        length += dot(pixels, tl.load(root + t[:, None] * BLOCK_C + column[None, :]))
        products += dot(pixels, tl.load(of_patch + t[:, None] * BLOCK_N + head[None, :]))
    norm = tl.rsqrt(tl.sum(length * length, axis=1) + eps)
    offset = tl.load(constant + (b * P + j) * N + head, mask=head < N, other=0.0)
    row = scores + ((b * N + head[None, :]) * Q + i[:, None]) * (P + CLASS_TOKEN)
    real = live[:, None] & (head < N)[None, :]
    tl.store(row + CLASS_TOKEN + j, (products * norm[:, None] + offset[None, :]) * scale, mask=real)
    if CLASS_TOKEN:
        tl.store(row, tl.zeros((BLOCK_M, BLOCK_N), tl.float32), mask=real & (j == 0))
