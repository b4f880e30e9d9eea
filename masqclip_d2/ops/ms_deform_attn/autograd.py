"""ms_deform_attn with the kernels of `kernels.py`, as operators of torch: fake tensors, export, compile, gradients.

Importing this module needs triton.

Shape shorthand: B images, S positions of the L levels, Lq queries, N heads, d channels per head, P points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...transfers import device_constant
from ..triton_support import kernel_op, power_of_two
from . import kernels as _kernels

kernels: Any = _kernels  # type checkers do not know how triton.jit changes a function

_QUERIES = 32  # of a program


def ms_deform_attn_triton(
    value: Tensor, level_hw: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """See `ms_deform_attn`."""
    sides = [int(side) for hw in level_hw for side in hw]
    return torch.ops.masqclip.ms_deform_attn(value, sides, sampling_locations, attention_weights)


def _levels(sides: tuple[int, ...], device: torch.device) -> Tensor:
    """(L, 3) int32: height, width and first position of each level."""
    rows, start = [], 0
    for height, width in zip(sides[::2], sides[1::2], strict=True):
        rows.append((height, width, start))
        start += height * width
    return device_constant(tuple(rows), torch.int32, device)


def _launch_sizes(value: Tensor, locations: Tensor) -> tuple[tuple, list[int], dict]:
    """Grid, sizes by position, sizes by name."""
    batch, size, heads, head_width = value.shape
    num_queries, _, levels, points = locations.shape[1:5]
    names = {"LEVELS": levels, "POINTS": points, "D": head_width, "BLOCK_D": power_of_two(head_width, 1)}
    grid = (-(-num_queries // _QUERIES), heads, batch)
    return grid, [size, num_queries, heads], {**names, "BLOCK_Q": _QUERIES}


@kernel_op("masqclip::ms_deform_attn")
def _ms_deform_attn(value: Tensor, sides: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    output = _empty_output(value, locations)
    if output.numel():
        grid, sizes, names = _launch_sizes(value, locations)
        levels = _levels(tuple(sides), value.device)
        kernels._forward_kernel[grid](
            value.contiguous(), levels, locations.contiguous(), weights.contiguous(), output, *sizes, **names
        )
    return output


@_ms_deform_attn.register_fake
def _(value: Tensor, sides: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    return _empty_output(value, locations)


def _empty_output(value: Tensor, locations: Tensor) -> Tensor:
    return value.new_empty((len(value), locations.shape[1], value.shape[2] * value.shape[3]))


@kernel_op("masqclip::ms_deform_attn_backward")
def _ms_deform_attn_backward(
    grad_output: Tensor, value: Tensor, sides: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grad_value = value.new_zeros(value.shape, dtype=torch.float32)
    grad_locations, grad_weights = (x.new_empty(x.shape, dtype=torch.float32) for x in (locations, weights))
    if grad_output.numel():
        grid, sizes, names = _launch_sizes(value, locations)
        kernels._backward_kernel[grid](
            value.contiguous(), _levels(tuple(sides), value.device), locations.contiguous(), weights.contiguous(),
            grad_output.contiguous(), grad_value, grad_locations, grad_weights, *sizes, **names,
        )  # fmt: skip
    return grad_value.to(value.dtype), grad_locations.to(locations.dtype), grad_weights.to(weights.dtype)


@_ms_deform_attn_backward.register_fake
def _(grad_output, value, sides, locations, weights) -> tuple[Tensor, Tensor, Tensor]:
    empty = [tensor.new_empty(tensor.shape) for tensor in (value, locations, weights)]
    return empty[0], empty[1], empty[2]


def _setup_context(ctx, inputs, output) -> None:
    value, ctx.sides, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _backward(ctx, grad_output: Tensor):
    value, locations, weights = ctx.saved_tensors
    grads = torch.ops.masqclip.ms_deform_attn_backward(grad_output, value, ctx.sides, locations, weights)
    return grads[0], None, grads[1], grads[2]


_ms_deform_attn.register_autograd(_backward, setup_context=_setup_context)
