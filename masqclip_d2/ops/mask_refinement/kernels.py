"""mask_refinement in Triton: the products of queries and keys exist in registers only.

With x_ijc = q_ic k_jc, s = sigmoid(1.702 x), g = x s, w the weight and dM the gradient of the refined masks by patches:

    forward   M'_ijt = M_ijt + b_t + sum_c g_ijc w_tc
    backward  dw_tc = sum_ij dM_ijt g_ijc, dx_ijc = (sum_t dM_ijt w_tc) s (1 + 1.702 x (1 - s)),
              dq_ic = sum_j dx_ijc k_jc, dk_jc = sum_i dx_ijc q_ic

A tile is BLOCK_I masks times BLOCK_J patches. The weight is transposed and padded with zeros to BLOCK_C pixels, a power
of two, and to a multiple of BLOCK_K channels, so that its loads need no masks.

Shape shorthand: B images, Q masks, P patches (row by row), D channels, PIXELS = PATCH * PATCH.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..triton_functions import dot

SLOPE = tl.constexpr(1.702)  # of QuickGELU
NEGATIVE_SLOPE_LOG2_E = tl.constexpr(-2.4554669595930156)  # of the exponential in base 2


@triton.jit
def _patch_corner(i, j, columns, image_width, plane, PATCH: tl.constexpr):
    """Offset in masks (Q, plane) of the first pixel of patch j of mask i."""
    return i * plane + (j // columns) * (PATCH * image_width) + (j % columns) * PATCH


@triton.jit
def _products(query, key, b, i, j, c, Q, P, D):
    """q_ic, k_jc and their product, float32 (tile, channels); indices beyond the end repeat the last one."""
    queries = tl.load(query + (b * Q + tl.minimum(i, Q - 1))[:, None] * D + c[None, :]).to(tl.float32)
    keys = tl.load(key + (b * P + tl.minimum(j, P - 1))[:, None] * D + c[None, :]).to(tl.float32)
    return queries, keys, queries * keys


@triton.jit
def _larger(left, right):
    """The larger one of each pair, NaN if one of them is."""
    return tl.where(left != left, left, tl.where((right > left) | (right != right), right, left))


@triton.jit
def _add_residual(
    residual, first, bias, masks, refined, corner, live, image_width,
    PATCH: tl.constexpr, PIXELS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Pixels `first` to `first` + WIDTH of each patch of a tile; returns the largest of them, NaN if one is."""
    t = first + tl.arange(0, WIDTH)
    where = corner[:, None] + ((t // PATCH) * image_width + t % PATCH)[None, :]
    shown = live[:, None] & (t < PIXELS)[None, :]
    residual += tl.load(bias + t, mask=t < PIXELS, other=0.0).to(tl.float32)[None, :]
    residual += tl.load(masks + where, mask=shown, other=0.0).to(tl.float32)
    tl.store(refined + where, residual.to(refined.dtype.element_ty), mask=shown)
    stored = residual.to(refined.dtype.element_ty).to(tl.float32)
    return tl.reduce(tl.where((t < PIXELS)[None, :], stored, float("-inf")), 1, _larger)


@triton.jit
def _halves(tile, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    return tl.split(tl.permute(tl.reshape(tile, (ROWS, 2, WIDTH)), (0, 2, 1)))


@triton.jit
def _add_in_halves(
    residual, first, bias, masks, refined, corner, live, image_width,
    PATCH: tl.constexpr, PIXELS: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """`_add_residual`, first for one half of the pixels, then for the other."""
    HALF: tl.constexpr = WIDTH // 2
    left, right = _halves(residual, TILE, HALF)
    largest = _add_residual(left, first, bias, masks, refined, corner, live, image_width, PATCH, PIXELS, HALF)
    other = _add_residual(right, first + HALF, bias, masks, refined, corner, live, image_width, PATCH, PIXELS, HALF)
    return _larger(largest, other)


@triton.jit
def _forward_kernel(
    masks, query, key, weight, bias, refined, maxima, Q, P, D, columns, image_width, plane,
    PATCH: tl.constexpr, PIXELS: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """refined (B, Q, plane); maxima (B, Q, P) float32; weight (D, BLOCK_C); grid (P / BLOCK_J, Q / BLOCK_I, B)."""
    TILE: tl.constexpr = BLOCK_I * BLOCK_J
    b = tl.program_id(2).to(tl.int64)
    r = tl.arange(0, TILE)
    i, j = tl.program_id(1) * BLOCK_I + r // BLOCK_J, tl.program_id(0) * BLOCK_J + r % BLOCK_J
    live, t = (i < Q) & (j < P), tl.arange(0, BLOCK_C)
    residual = tl.zeros((TILE, BLOCK_C), tl.float32)
    for first in range(0, D, BLOCK_K):
        c = first + tl.arange(0, BLOCK_K)
        _, _, product = _products(query, key, b, i, j, c, Q, P, D)
        weights = tl.load(weight + c[:, None] * BLOCK_C + t[None, :])
        activated = product / (1.0 + tl.exp2(product * NEGATIVE_SLOPE_LOG2_E))
        residual += dot(activated.to(weights.dtype), weights)
    corner = _patch_corner(i, j, columns, image_width, plane, PATCH)
    before, after = masks + b * Q * plane, refined + b * Q * plane
    if BLOCK_C >= 128:  # in eighths: the whole would not fit in registers
        QUARTER: tl.constexpr = BLOCK_C // 4
        left, right = _halves(residual, TILE, BLOCK_C // 2)
        part_0, part_1 = _halves(left, TILE, QUARTER)
        part_2, part_3 = _halves(right, TILE, QUARTER)
        largest = _add_in_halves(
            part_0, 0, bias, before, after, corner, live, image_width, PATCH, PIXELS, TILE, QUARTER
        )
        larger = _add_in_halves(
            part_1, QUARTER, bias, before, after, corner, live, image_width, PATCH, PIXELS, TILE, QUARTER
        )
        largest = _larger(largest, larger)
        larger = _add_in_halves(
            part_2, 2 * QUARTER, bias, before, after, corner, live, image_width, PATCH, PIXELS, TILE, QUARTER
        )
        largest = _larger(largest, larger)
        larger = _add_in_halves(
            part_3, 3 * QUARTER, bias, before, after, corner, live, image_width, PATCH, PIXELS, TILE, QUARTER
        )
        largest = _larger(largest, larger)
    else:
        largest = _add_residual(residual, 0, bias, before, after, corner, live, image_width, PATCH, PIXELS, BLOCK_C)
    tl.store(maxima + (b * Q + i) * P + j, largest, mask=live)


@triton.jit
def _gradients_of_tile(
    grad, b, i, j, live, t, columns, image_width, plane, Q, P, PATCH: tl.constexpr, PIXELS: tl.constexpr
):
    """Gradient of the refined masks in the patches of a tile, (tile, BLOCK_C)."""
    corner = _patch_corner(tl.minimum(i, Q - 1), tl.minimum(j, P - 1), columns, image_width, plane, PATCH)
    where = corner[:, None] + ((t // PATCH) * image_width + t % PATCH)[None, :]
    return tl.load(grad + b * Q * plane + where, mask=live[:, None] & (t < PIXELS)[None, :], other=0.0)


@triton.jit
def _token_gradient_kernel(
    grad, query, key, weight, grad_query, grad_key, Q, P, D, columns, image_width, plane, patch_tiles, tiles,
    tiles_per_split,
    PATCH: tl.constexpr, PIXELS: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradients of query and key, added by atomics to float32 zeros; grid (D / BLOCK_K, splits, B)."""
    TILE: tl.constexpr = BLOCK_I * BLOCK_J
    c = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    split, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    t, r = tl.arange(0, BLOCK_C), tl.arange(0, TILE)
    weights = tl.load(weight + c[:, None] * BLOCK_C + t[None, :])  # (BLOCK_K, BLOCK_C)
    for tile in range(split * tiles_per_split, tl.minimum((split + 1) * tiles_per_split, tiles)):
        first_i, first_j = (tile // patch_tiles) * BLOCK_I, (tile % patch_tiles) * BLOCK_J
        i, j = first_i + r // BLOCK_J, first_j + r % BLOCK_J
        live = (i < Q) & (j < P)
        grads = _gradients_of_tile(grad, b, i, j, live, t, columns, image_width, plane, Q, P, PATCH, PIXELS)
        queries, keys, product = _products(query, key, b, i, j, c, Q, P, D)
        sigmoid = 1.0 / (1.0 + tl.exp2(product * NEGATIVE_SLOPE_LOG2_E))
        of_product = dot(grads.to(weights.dtype), tl.trans(weights))
        of_product *= sigmoid * (1.0 + product * SLOPE * (1.0 - sigmoid))
        of_query = tl.sum(tl.reshape(of_product * keys, (BLOCK_I, BLOCK_J, BLOCK_K)), axis=1)
        of_key = tl.sum(tl.reshape(of_product * queries, (BLOCK_I, BLOCK_J, BLOCK_K)), axis=0)
        masks, patches = first_i + tl.arange(0, BLOCK_I), first_j + tl.arange(0, BLOCK_J)
        tl.atomic_add(
            grad_query + (b * Q + masks)[:, None] * D + c[None, :], of_query, mask=(masks < Q)[:, None], sem="relaxed"
        )
        tl.atomic_add(
            grad_key + (b * P + patches)[:, None] * D + c[None, :], of_key, mask=(patches < P)[:, None], sem="relaxed"
        )


@triton.jit
def _weight_gradient_kernel(
    grad, query, key, grad_weight, Q, P, D, columns, image_width, plane, patch_tiles, tiles, tiles_per_split,
    PATCH: tl.constexpr, PIXELS: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradient of the weight, (splits, B, D, BLOCK_C) float32, a part per program; grid (D / BLOCK_K, splits, B)."""
    TILE: tl.constexpr = BLOCK_I * BLOCK_J
    c = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    split, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    t, r = tl.arange(0, BLOCK_C), tl.arange(0, TILE)
    of_weight = tl.zeros((BLOCK_K, BLOCK_C), tl.float32)
    for tile in range(split * tiles_per_split, tl.minimum((split + 1) * tiles_per_split, tiles)):
        i, j = (tile // patch_tiles) * BLOCK_I + r // BLOCK_J, (tile % patch_tiles) * BLOCK_J + r % BLOCK_J
        live = (i < Q) & (j < P)
        grads = _gradients_of_tile(grad, b, i, j, live, t, columns, image_width, plane, Q, P, PATCH, PIXELS)
        _, _, product = _products(query, key, b, i, j, c, Q, P, D)
        activated = product / (1.0 + tl.exp2(product * NEGATIVE_SLOPE_LOG2_E))
        low = query.dtype.element_ty
        of_weight += dot(tl.trans(activated.to(low)), grads.to(low))
    part = ((split * tl.num_programs(2) + b) * D + c)[:, None] * BLOCK_C + t[None, :]
    tl.store(grad_weight + part, of_weight)
