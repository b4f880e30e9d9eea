"""masked_attention in Triton, split over keys, with one bit-packed attend mask for all heads.

With scores S = Q K^T / sqrt(d) + bias where a query may attend, -inf elsewhere:

    forward   lse_i = log2 sum_j exp(S_ij), W_ij = exp(S_ij) / 2^lse_i, O = W V
    backward  dV = W^T dO, dS = W * (dO V^T - delta) with delta_i = dO_i . O_i, dbias = dS,
              dQ = dS K / sqrt(d), dK = dS^T Q / sqrt(d)

A query that may attend to nothing has lse = -inf, weights 0, output 0 and gradients 0.

Bits: `words` (B, Q, W) int64; bit k % 64 of word k // 64 says whether the query may attend to key k. A tile of keys is
the 64 keys of one word. `anywhere` (B, Q) int32 is not 0 for queries that may attend to some key.

One image gives few programs (16 heads of one tile of queries), fewer than a GPU has multiprocessors. So programs also
share the keys: each handles `words_per_split` words, and `_combine_kernel` joins the results by their lse.

Shape shorthand: B images, N heads, Q queries, L keys, W words, d channels per head.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..triton_functions import dot

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _pack_bits_kernel(mask, words, anywhere, L, W, BLOCK_W: tl.constexpr):
    """Bits of a bool mask (B * Q, L); grid (B * Q, words / BLOCK_W). `anywhere` is zeroed."""
    row = tl.program_id(0).to(tl.int64)
    word = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    bit = tl.arange(0, 64)
    key = word[:, None] * 64 + bit[None, :]
    allowed = tl.load(mask + row * L + key, mask=key < L, other=0).to(tl.int64)
    packed = tl.sum(allowed << bit[None, :].to(tl.int64), axis=1)  # distinct bits: their sum is their union
    tl.store(words + row * W + word, packed, mask=word < W)
    tl.atomic_or(anywhere + row, tl.max((packed != 0).to(tl.int32), axis=0), sem="relaxed")


@triton.jit
def _predicted_bits_kernel(
    embedding, features, words, anywhere, Q, C, L, W,
    BLOCK_Q: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Bits of embedding (B, Q, C) @ features (B, C, L) >= 0; grid (W, Q / BLOCK_Q, B). `anywhere` is zeroed."""
    word, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    query = tl.program_id(1) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    bit = tl.arange(0, 64)
    key = word * 64 + bit
    logits = tl.zeros((BLOCK_Q, 64), tl.float32)
    for first in range(0, C, BLOCK_C):
        channel = first + tl.arange(0, BLOCK_C)
        left = tl.load(
            embedding + (b * Q + query)[:, None] * C + channel[None, :],
            mask=(query < Q)[:, None] & (channel < C)[None, :], other=0.0,
        )  # fmt: skip
        right = tl.load(
            features + (b * C + channel)[:, None] * L + key[None, :],
            mask=(channel < C)[:, None] & (key < L)[None, :], other=0.0,
        )  # fmt: skip
        logits += dot(left, right)
    inside = ((logits >= 0) & (key < L)[None, :]).to(tl.int64)
    packed = tl.sum(inside << bit[None, :].to(tl.int64), axis=1)
    tl.store(words + (b * Q + query) * W + word, packed, mask=query < Q)
    tl.atomic_or(anywhere + b * Q + query, (packed != 0).to(tl.int32), mask=query < Q, sem="relaxed")


@triton.jit
def _allowed(words, row, live, word, L, free):
    """(BLOCK_Q, 64) whether the queries whose words begin at `row` may attend to the keys of a word."""
    bits = tl.load(words + row + word, mask=live, other=0)
    bit = tl.arange(0, 64)
    allowed = ((bits[:, None] >> bit[None, :].to(tl.int64)) & 1) != 0
    return (allowed | free[:, None]) & ((word * 64 + bit) < L)[None, :]


@triton.jit
def _free_queries(anywhere, at, live, EVERYWHERE: tl.constexpr, BLOCK_Q: tl.constexpr):
    """Queries of a tile that attend everywhere since no key is allowed; none without EVERYWHERE."""
    free = tl.zeros((BLOCK_Q,), tl.int1)
    if EVERYWHERE:
        free = live & (tl.load(anywhere + at, mask=live, other=1) == 0)
    return free


@triton.jit
def _rows(tensor, index, stride, channel, shown):
    """Rows of one head, (len(index), BLOCK_D); 0 where not `shown`."""
    return tl.load(tensor + index[:, None] * stride + channel[None, :], mask=shown, other=0.0)


@triton.jit
def _forward_kernel(
    query, key, value, words, anywhere, bias, output, lse,
    Q, L, W, N, words_per_split, scale,
    stride_qb, stride_qn, stride_qq, stride_kb, stride_kn, stride_kl,
    stride_vb, stride_vn, stride_vl, stride_bb, stride_bn, stride_bq,
    HAS_BIAS: tl.constexpr, EVERYWHERE: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Output (splits, B, N, Q, d) and lse (splits, B, N, Q) of each split; grid (Q / BLOCK_Q * splits, N, B).

    EVERYWHERE: a query without an allowed key attends to all of them.
    """
    tiles = tl.cdiv(Q, BLOCK_Q)
    tile, split = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    n, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    i, c, bit = tile * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_D), tl.arange(0, 64)
    live, channel = i < Q, c < D
    row = (b * Q + i) * W
    free = _free_queries(anywhere, b * Q + i, live, EVERYWHERE, BLOCK_Q)
    queries = _rows(query + b * stride_qb + n * stride_qn, i, stride_qq, c, live[:, None] & channel[None, :])
    largest = tl.full((BLOCK_Q,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    sums = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    first = split * words_per_split
    for word in range(first, tl.minimum(first + words_per_split, tl.cdiv(L, 64))):
        j = word * 64 + bit
        inside = (j < L)[:, None] & channel[None, :]
        keys = _rows(key + b * stride_kb + n * stride_kn, j, stride_kl, c, inside)
        values = _rows(value + b * stride_vb + n * stride_vn, j, stride_vl, c, inside)
        scores = dot(queries, tl.trans(keys)) * scale
        if HAS_BIAS:
            scores += tl.load(
                bias + b * stride_bb + n * stride_bn + i[:, None] * stride_bq + j[None, :],
                mask=live[:, None] & (j < L)[None, :], other=0.0,
            ).to(tl.float32)  # fmt: skip
        scores = tl.where(_allowed(words, row, live, word, L, free), scores * LOG2_E, -float("inf"))
        new_largest = tl.maximum(largest, tl.max(scores, axis=1))
        shift = tl.where(new_largest == -float("inf"), 0.0, new_largest)
        weights = tl.exp2(scores - shift[:, None])
        decay = tl.exp2(largest - shift)
        total = total * decay + tl.sum(weights, axis=1)
        sums = sums * decay[:, None] + dot(weights.to(values.dtype), values)
        largest = new_largest
    at = ((split * tl.num_programs(2) + b) * N + n) * Q + i
    divisor = tl.where(total > 0, total, 1.0)
    tl.store(lse + at, tl.where(total > 0, largest + tl.log2(divisor), -float("inf")), mask=live)
    tl.store(
        output + at[:, None] * D + c[None, :], (sums / divisor[:, None]).to(output.dtype.element_ty),
        mask=live[:, None] & channel[None, :],
    )  # fmt: skip


@triton.jit
def _combine_kernel(
    part_output, part_lse, output, lse, rows,
    SPLITS: tl.constexpr, BLOCK_S: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Joins the splits of `_forward_kernel`: (splits, rows, d) -> (rows, d); grid (rows / BLOCK_R,)."""
    r, s, c = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_S), tl.arange(0, BLOCK_D)
    live = r < rows
    parts = tl.load(
        part_lse + s[:, None] * rows + r[None, :], mask=(s < SPLITS)[:, None] & live[None, :], other=-float("inf")
    )
    largest = tl.max(parts, axis=0)
    weights = tl.exp2(parts - tl.where(largest == -float("inf"), 0.0, largest)[None, :])
    total = tl.sum(weights, axis=0)
    sums = tl.zeros((BLOCK_R, BLOCK_D), tl.float32)
    for split in range(SPLITS):
        weight = tl.sum(tl.where((s == split)[:, None], weights, 0.0), axis=0)
        at = (split * rows.to(tl.int64) + r)[:, None] * D + c[None, :]
        sums += weight[:, None] * tl.load(part_output + at, mask=live[:, None] & (c < D)[None, :], other=0.0)
    divisor = tl.where(total > 0, total, 1.0)
    tl.store(
        output + r[:, None] * D + c[None, :], (sums / divisor[:, None]).to(output.dtype.element_ty),
        mask=live[:, None] & (c < D)[None, :],
    )  # fmt: skip
    tl.store(lse + r, tl.where(total > 0, largest + tl.log2(divisor), -float("inf")), mask=live)


@triton.jit
def _gradient_of_scores(
    queries, keys, values, grads, bias, allowed, i, j, shown, stride_bq, row_lse, row_delta, scale,
    HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Weights and gradient of the scores of a tile, both (BLOCK_Q, 64) float32."""
    scores = dot(queries, tl.trans(keys)) * scale
    if HAS_BIAS:
        scores += tl.load(bias + i[:, None] * stride_bq + j[None, :], mask=shown, other=0.0).to(tl.float32)
    weights = tl.where(allowed, tl.exp2(scores * LOG2_E - row_lse[:, None]), 0.0)
    return weights, weights * (dot(grads, tl.trans(values)) - row_delta[:, None])


@triton.jit
def _row_statistics(lse, delta, at, live):
    """lse, +inf where there are no weights, and delta of the queries of a tile."""
    row_lse = tl.load(lse + at, mask=live, other=-float("inf"))
    row_lse = tl.where(row_lse == -float("inf"), float("inf"), row_lse)
    return row_lse, tl.load(delta + at, mask=live, other=0.0)


@triton.jit
def _query_gradient_kernel(
    query, key, value, words, anywhere, bias, grad_output, lse, delta, grad_query, grad_bias,
    Q, L, W, N, words_per_split, scale,
    stride_qb, stride_qn, stride_qq, stride_kb, stride_kn, stride_kl,
    stride_vb, stride_vn, stride_vl, stride_bb, stride_bn, stride_bq,
    HAS_BIAS: tl.constexpr, EVERYWHERE: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Gradients of query and bias; grid as in `_forward_kernel`. grad_query: (splits, B, N, Q, d) float32."""
    tiles = tl.cdiv(Q, BLOCK_Q)
    tile, split = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    n, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    i, c, bit = tile * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_D), tl.arange(0, 64)
    live, channel = i < Q, c < D
    both = live[:, None] & channel[None, :]
    row, at = (b * Q + i) * W, (b * N + n) * Q + i
    free = _free_queries(anywhere, b * Q + i, live, EVERYWHERE, BLOCK_Q)
    queries = _rows(query + b * stride_qb + n * stride_qn, i, stride_qq, c, both)
    grads = tl.load(grad_output + at[:, None] * D + c[None, :], mask=both, other=0.0)
    row_lse, row_delta = _row_statistics(lse, delta, at, live)
    of_queries = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    first = split * words_per_split
    for word in range(first, tl.minimum(first + words_per_split, tl.cdiv(L, 64))):
        j = word * 64 + bit
        inside = (j < L)[:, None] & channel[None, :]
        keys = _rows(key + b * stride_kb + n * stride_kn, j, stride_kl, c, inside)
        values = _rows(value + b * stride_vb + n * stride_vn, j, stride_vl, c, inside)
        shown = live[:, None] & (j < L)[None, :]
        _, of_scores = _gradient_of_scores(
            queries, keys, values, grads, bias + b * stride_bb + n * stride_bn,
            _allowed(words, row, live, word, L, free), i, j, shown, stride_bq, row_lse, row_delta, scale, HAS_BIAS,
        )  # fmt: skip
        if HAS_BIAS:
            tl.store(grad_bias + at[:, None] * L + j[None, :], of_scores.to(grad_bias.dtype.element_ty), mask=shown)
        of_queries += dot(of_scores.to(keys.dtype), keys)
    part = ((split * tl.num_programs(2) + b) * N + n) * Q + i
    tl.store(grad_query + part[:, None] * D + c[None, :], of_queries * scale, mask=both)


@triton.jit
def _key_gradient_kernel(
    query, key, value, words, anywhere, bias, grad_output, lse, delta, grad_key, grad_value,
    Q, L, W, N, scale,
    stride_qb, stride_qn, stride_qq, stride_kb, stride_kn, stride_kl,
    stride_vb, stride_vn, stride_vl, stride_bb, stride_bn, stride_bq,
    HAS_BIAS: tl.constexpr, EVERYWHERE: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Gradients of key and value, (B, N, L, d); grid (W, N, B). A program sums over all queries, always in order."""
    word, n, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    c = tl.arange(0, BLOCK_D)
    channel = c < D
    j = word * 64 + tl.arange(0, 64)
    inside = (j < L)[:, None] & channel[None, :]
    keys = _rows(key + b * stride_kb + n * stride_kn, j, stride_kl, c, inside)
    values = _rows(value + b * stride_vb + n * stride_vn, j, stride_vl, c, inside)
    of_keys = tl.zeros((64, BLOCK_D), tl.float32)
    of_values = tl.zeros((64, BLOCK_D), tl.float32)
    for first in range(0, Q, BLOCK_Q):
        i = first + tl.arange(0, BLOCK_Q)
        live = i < Q
        both = live[:, None] & channel[None, :]
        row, at = (b * Q + i) * W, (b * N + n) * Q + i
        free = _free_queries(anywhere, b * Q + i, live, EVERYWHERE, BLOCK_Q)
        queries = _rows(query + b * stride_qb + n * stride_qn, i, stride_qq, c, both)
        grads = tl.load(grad_output + at[:, None] * D + c[None, :], mask=both, other=0.0)
        row_lse, row_delta = _row_statistics(lse, delta, at, live)
        weights, of_scores = _gradient_of_scores(
            queries, keys, values, grads, bias + b * stride_bb + n * stride_bn,
            _allowed(words, row, live, word, L, free), i, j, live[:, None] & (j < L)[None, :], stride_bq,
            row_lse, row_delta, scale, HAS_BIAS,
        )  # fmt: skip
        of_keys += dot(tl.trans(of_scores.to(queries.dtype)), queries)
        of_values += dot(tl.trans(weights.to(grads.dtype)), grads)
    head, where = (b * N + n) * L * D, j[:, None] * D + c[None, :]
    tl.store(grad_key + head + where, (of_keys * scale).to(grad_key.dtype.element_ty), mask=inside)
    tl.store(grad_value + head + where, of_values.to(grad_value.dtype.element_ty), mask=inside)
