"""masked_attention with the kernels of `kernels.py`, as operators of torch: fake tensors, export, compile, gradients.

Importing this module needs triton.

Shape shorthand: B images, N heads, Q queries, L keys, W = ceil(L / 64) words, d channels per head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..autocast import autocast_dtype
from ..triton_support import kernel_op, num_multiprocessors, power_of_two, with_dense_rows
from . import kernels as _kernels
from .attend_bits import KEYS_PER_WORD, AttendBits

kernels: Any = _kernels  # type checkers do not know how triton.jit changes a function

_NARROW = 32  # channels per head
_FEW_KEYS = 1024  # with few keys, small tiles make enough programs
_PREDICTION_TILE = 64  # queries of a program that predicts masks
_LEAST_WORDS = 4  # of a split: less does not pay the second pass
_PROGRAMS_PER_MULTIPROCESSOR = 2


def pack_attend_mask_triton(mask: Tensor) -> AttendBits:
    """Bits of a mask (B, Q, L) bool."""
    words, anywhere = torch.ops.masqclip.pack_attend_mask(mask)
    return AttendBits(words, anywhere, mask.shape[-1])


def predicted_attend_mask_triton(embedding: Tensor, features: Tensor) -> AttendBits:
    """See `predicted_attend_mask`."""
    dtype = autocast_dtype(embedding.device) or embedding.dtype
    words, anywhere = torch.ops.masqclip.predicted_attend_bits(
        embedding.detach().to(dtype), features.detach().to(dtype)
    )
    return AttendBits(words, anywhere, features.shape[-1])


def masked_attention_triton(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attend_mask: Tensor | AttendBits,
    bias: Tensor | None = None,
    everywhere: bool = False,
) -> Tensor:
    """See `masked_attention`."""
    bits = attend_mask if isinstance(attend_mask, AttendBits) else pack_attend_mask_triton(attend_mask)
    dtype = autocast_dtype(query.device) or query.dtype
    arguments = (query.to(dtype), key.to(dtype), value.to(dtype), bits.words, bits.anywhere, bias, everywhere)
    return torch.ops.masqclip.masked_attention(*arguments)[0]


class _Plan(NamedTuple):
    """How the work is divided between programs."""

    block_q: int
    tiles: int  # of queries
    splits: int  # of keys
    words_per_split: int
    num_warps: int


def _plan(query: Tensor, num_keys: int, backward: bool = False) -> _Plan:
    batch, heads, num_queries, head_width = query.shape
    block_q = min(_largest_tile(query.dtype, head_width, num_keys, backward), power_of_two(num_queries))
    tiles, words = -(-num_queries // block_q), -(-num_keys // KEYS_PER_WORD)
    wanted = _PROGRAMS_PER_MULTIPROCESSOR * num_multiprocessors(query.device) // max(1, batch * heads * tiles)
    splits = max(1, min(-(-words // _LEAST_WORDS), wanted))
    words_per_split = max(1, -(-words // splits))
    num_warps = 8 if query.dtype == torch.float32 else 4
    return _Plan(block_q, tiles, -(-words // words_per_split), words_per_split, num_warps)


def _largest_tile(dtype: torch.dtype, head_width: int, num_keys: int, backward: bool) -> int:
    """Queries of a program: as many as fit in its registers (tests/ops/ahead_of_time.py)."""
    narrow = head_width <= _NARROW
    tile = 32 if num_keys <= _FEW_KEYS else 128 if narrow else 64
    if backward:
        tile = min(tile, 64 if narrow else 32)
    return max(16, tile // 4) if dtype == torch.float32 else tile


@kernel_op("masqclip::pack_attend_mask")
def _pack_attend_mask(mask: Tensor) -> tuple[Tensor, Tensor]:
    words, anywhere = _empty_bits(mask, mask.shape[-1])
    if mask.numel():
        grid = (mask.shape[0] * mask.shape[1], -(-words.shape[-1] // 8))
        pixels = mask.contiguous().view(torch.uint8)
        kernels._pack_bits_kernel[grid](pixels, words, anywhere, mask.shape[-1], words.shape[-1], BLOCK_W=8)
    return words, anywhere


@_pack_attend_mask.register_fake
def _(mask: Tensor) -> tuple[Tensor, Tensor]:
    return _empty_bits(mask, mask.shape[-1])


@kernel_op("masqclip::predicted_attend_bits")
def _predicted_attend_bits(embedding: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    words, anywhere = _empty_bits(embedding, features.shape[-1])
    batch, num_queries, channels = embedding.shape
    if words.numel():
        block_q = min(_PREDICTION_TILE, power_of_two(num_queries))
        grid = (words.shape[-1], -(-num_queries // block_q), batch)
        kernels._predicted_bits_kernel[grid](
            embedding.contiguous(), features.contiguous(), words, anywhere,
            num_queries, channels, features.shape[-1], words.shape[-1], BLOCK_Q=block_q, BLOCK_C=32,
            num_warps=8 if embedding.dtype == torch.float32 else 4,
        )  # fmt: skip
    return words, anywhere


@_predicted_attend_bits.register_fake
def _(embedding: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    return _empty_bits(embedding, features.shape[-1])


def _empty_bits(rows: Tensor, num_keys: int) -> tuple[Tensor, Tensor]:
    """Storage of the bits of (B, Q, *) rows, and zeros."""
    size = rows.shape[:2]
    words = rows.new_empty((*size, (num_keys + KEYS_PER_WORD - 1) // KEYS_PER_WORD), dtype=torch.int64)
    return words, rows.new_zeros(size, dtype=torch.int32)


@kernel_op("masqclip::masked_attention")
def _masked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    words: Tensor,
    anywhere: Tensor,
    bias: Tensor | None,
    everywhere: bool,
) -> tuple[Tensor, Tensor]:
    output, lse = _empty_output(query)
    num_keys = key.shape[2]
    if not output.numel():
        return output, lse
    if not num_keys:
        return output.zero_(), lse.fill_(-torch.inf)
    plan, head_width = _plan(query, num_keys), query.shape[-1]
    block_d = power_of_two(head_width)
    part_output, part_lse = output, lse
    if plan.splits > 1:
        part_output, part_lse = (x.new_empty((plan.splits, *x.shape), dtype=torch.float32) for x in (output, lse))
    tensors, sizes, strides, options = _shared_arguments(query, key, value, words, anywhere, bias, plan)
    kernels._forward_kernel[(plan.tiles * plan.splits, query.shape[1], len(query))](
        *tensors, part_output, part_lse, *sizes, plan.words_per_split, head_width**-0.5, *strides,
        EVERYWHERE=everywhere, **options,
    )  # fmt: skip
    if plan.splits > 1:
        rows = lse.numel()
        kernels._combine_kernel[(-(-rows // 16),)](
            part_output, part_lse, output, lse, rows,
            SPLITS=plan.splits, BLOCK_S=power_of_two(plan.splits, 1), D=head_width, BLOCK_D=block_d, BLOCK_R=16,
        )  # fmt: skip
    return output, lse


@_masked_attention.register_fake
def _(query, key, value, words, anywhere, bias, everywhere) -> tuple[Tensor, Tensor]:
    return _empty_output(query)


def _empty_output(query: Tensor) -> tuple[Tensor, Tensor]:
    """Output (B, N, Q, d) and lse (B, N, Q)."""
    return query.new_empty(query.shape), query.new_empty(query.shape[:-1], dtype=torch.float32)


def _shared_arguments(query, key, value, words, anywhere, bias, plan: _Plan) -> tuple[list, list[int], list[int], dict]:
    """What forward and backward kernels get: tensors, sizes and strides by position, the others by name."""
    query, key, value = (with_dense_rows(tensor) for tensor in (query, key, value))
    some_bias = query if bias is None else with_dense_rows(bias)
    heads, num_queries, head_width = query.shape[1:]
    strides = [stride for tensor in (query, key, value, some_bias) for stride in tensor.stride()[:3]]
    options = {
        "HAS_BIAS": bias is not None,
        "D": head_width,
        "BLOCK_D": power_of_two(head_width),
        "BLOCK_Q": plan.block_q,
        "num_warps": plan.num_warps,
    }
    tensors = [query, key, value, words.contiguous(), anywhere.contiguous(), some_bias]
    return tensors, [num_queries, key.shape[2], words.shape[-1], heads], strides, options


@kernel_op("masqclip::masked_attention_backward")
def _masked_attention_backward(
    grad_output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    words: Tensor,
    anywhere: Tensor,
    bias: Tensor | None,
    everywhere: bool,
    output: Tensor,
    lse: Tensor,
    of_keys: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grads = _empty_grads(query, key, value, bias)
    if not query.numel() or not key.shape[2]:
        of_query, of_key, of_value, of_bias = (grad.zero_() for grad in grads)
        return of_query, of_key, of_value, of_bias
    _, grad_key, grad_value, grad_bias = grads
    plan, (batch, heads) = _plan(query, key.shape[2], backward=True), query.shape[:2]
    grad_query = query.new_empty((plan.splits, *query.shape), dtype=torch.float32)
    delta = (grad_output.float() * output.float()).sum(dim=-1)
    grad_output = grad_output.to(query.dtype).contiguous()
    tensors, sizes, strides, options = _shared_arguments(query, key, value, words, anywhere, bias, plan)
    tensors += [grad_output, lse, delta]
    kernels._query_gradient_kernel[(plan.tiles * plan.splits, heads, batch)](
        *tensors, grad_query, grad_bias, *sizes, plan.words_per_split, query.shape[-1] ** -0.5, *strides,
        EVERYWHERE=everywhere, **options,
    )  # fmt: skip
    if of_keys:
        if query.shape[-1] > _NARROW:
            options |= {"BLOCK_Q": 16, "num_stages": 1}
        kernels._key_gradient_kernel[(words.shape[-1], heads, batch)](
            *tensors, grad_key, grad_value, *sizes, query.shape[-1] ** -0.5, *strides, EVERYWHERE=everywhere, **options
        )
    return grad_query.sum(dim=0).to(query.dtype), grad_key, grad_value, grad_bias


@_masked_attention_backward.register_fake
def _(grad_output, query, key, value, words, anywhere, bias, everywhere, output, lse, of_keys):
    return tuple(_empty_grads(query, key, value, bias))


def _empty_grads(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Contiguous storage for the gradients of query, key, value and bias (without a bias: no elements)."""
    grads = [tensor.new_empty(tensor.shape) for tensor in (query, key, value)]
    return [*grads, query.new_empty((0,)) if bias is None else bias.new_empty(bias.shape)]


def _setup_context(ctx, inputs, output) -> None:
    query, key, value, words, anywhere, bias, everywhere = inputs
    ctx.save_for_backward(query, key, value, words, anywhere, bias, *output)
    ctx.everywhere = everywhere
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_output: Tensor | None, _grad_lse: Tensor | None):
    if grad_output is None:
        return (None,) * 7
    *inputs, bias, output, lse = ctx.saved_tensors
    of_keys = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
    arguments = (grad_output, *inputs, bias, ctx.everywhere, output, lse, of_keys)
    of_query, of_key, of_value, of_bias = torch.ops.masqclip.masked_attention_backward(*arguments)
    of_bias = None if bias is None else of_bias
    return of_query, of_key if of_keys else None, of_value if of_keys else None, None, None, of_bias, None


_masked_attention.register_autograd(_backward, setup_context=_setup_context)
