"""ms_deform_attn in Triton.

For each query and head, with the points x_lp of its L levels and P points, and bilinear samples v_l(x):

    forward   O = sum_lp A_lp v_l(x_lp)
    backward  dA_lp = dO . v_l(x_lp), dx_lp = A_lp dO . dv_l/dx, and dv adds A_lp dO to the four pixels around x_lp,
              each by its bilinear weight

A program serves BLOCK_Q neighboring queries of one head: they look at neighboring pixels, which then lie in the cache.
The loop over levels is not unrolled, which would need three times the registers.

Shape shorthand: B images, S = sum of h * w over the L levels, Lq queries, N heads, d channels per head, P points.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _sampling_point(locations, weights, at, live, width, height):
    """Column and row in pixels, and attention weight, of one point of each query."""
    x = tl.load(locations + 2 * at, mask=live, other=0.0).to(tl.float32) * width - 0.5
    y = tl.load(locations + 2 * at + 1, mask=live, other=0.0).to(tl.float32) * height - 0.5
    return x, y, tl.load(weights + at, mask=live, other=0.0).to(tl.float32)


@triton.jit
def _corner(x, y, right: tl.constexpr, below: tl.constexpr, width, height):
    """One of the four pixels around a point: index in its level, weights along x and y, whether it is in the map."""
    left, top = tl.floor(x), tl.floor(y)
    i, j = left + right, top + below
    weight_x = (x - left) if right == 1 else (left + 1.0 - x)
    weight_y = (y - top) if below == 1 else (top + 1.0 - y)
    inside = (i >= 0) & (i < width) & (j >= 0) & (j < height)
    pixel = tl.where(inside, j * width + i, 0.0).to(tl.int32)
    return pixel, tl.where(inside, weight_x, 0.0), tl.where(inside, weight_y, 0.0), inside


@triton.jit
def _forward_kernel(
    value, levels, locations, weights, output, S, Lq, N,
    LEVELS: tl.constexpr, POINTS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Output (B, Lq, N, d); levels (L, 3) int32: height, width, first position; grid (Lq / BLOCK_Q, N, B)."""
    q = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    n, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    c = tl.arange(0, BLOCK_D)
    live, channel = q < Lq, c < D
    row = (b * Lq + q) * N + n
    head = value + (b * S * N + n) * D
    total = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    for level in range(LEVELS):
        height, width = tl.load(levels + 3 * level), tl.load(levels + 3 * level + 1)
        start = tl.load(levels + 3 * level + 2)
        for point in tl.static_range(POINTS):
            at = row * (LEVELS * POINTS) + (level * POINTS + point)
            x, y, weight = _sampling_point(locations, weights, at, live, width, height)
            for corner in tl.static_range(4):
                pixel, weight_x, weight_y, inside = _corner(x, y, corner % 2, corner // 2, width, height)
                sampled = tl.load(
                    head + ((start + pixel) * (N * D))[:, None] + c[None, :],
                    mask=(live & inside)[:, None] & channel[None, :], other=0.0,
                ).to(tl.float32)  # fmt: skip
                total += (weight * weight_x * weight_y)[:, None] * sampled
    tl.store(
        output + row[:, None] * D + c[None, :], total.to(output.dtype.element_ty),
        mask=live[:, None] & channel[None, :],
    )  # fmt: skip


@triton.jit
def _backward_kernel(
    value, levels, locations, weights, grad_output, grad_value, grad_locations, grad_weights, S, Lq, N,
    LEVELS: tl.constexpr, POINTS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Gradients in float32; those of value are added by atomics to zeros, in an order that varies. Grid as forward."""
    q = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    n, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    c = tl.arange(0, BLOCK_D)
    live, channel = q < Lq, c < D
    row = (b * Lq + q) * N + n
    head = (b * S * N + n) * D
    grad = tl.load(grad_output + row[:, None] * D + c[None, :], mask=live[:, None] & channel[None, :], other=0.0).to(
        tl.float32
    )
    for level in range(LEVELS):
        height, width = tl.load(levels + 3 * level), tl.load(levels + 3 * level + 1)
        start = tl.load(levels + 3 * level + 2)
        for point in tl.static_range(POINTS):
            at = row * (LEVELS * POINTS) + (level * POINTS + point)
            x, y, weight = _sampling_point(locations, weights, at, live, width, height)
            of_weight = tl.zeros((BLOCK_Q,), tl.float32)
            of_x = tl.zeros((BLOCK_Q,), tl.float32)
            of_y = tl.zeros((BLOCK_Q,), tl.float32)
            for corner in tl.static_range(4):
                pixel, weight_x, weight_y, inside = _corner(x, y, corner % 2, corner // 2, width, height)
                where = ((start + pixel) * (N * D))[:, None] + c[None, :]
                shown = (live & inside)[:, None] & channel[None, :]
                product = tl.sum(grad * tl.load(value + head + where, mask=shown, other=0.0).to(tl.float32), axis=1)
                of_weight += product * weight_x * weight_y
                of_x += product * weight_y * (1.0 if corner % 2 == 1 else -1.0)
                of_y += product * weight_x * (1.0 if corner // 2 == 1 else -1.0)
                share = (weight * weight_x * weight_y)[:, None] * grad
                tl.atomic_add(grad_value + head + where, share, mask=shown, sem="relaxed")
            tl.store(grad_weights + at, of_weight, mask=live)
            tl.store(grad_locations + 2 * at, of_x * weight * width, mask=live)
            tl.store(grad_locations + 2 * at + 1, of_y * weight * height, mask=live)
