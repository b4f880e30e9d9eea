"""mask_refinement with the kernels of `kernels.py`, as operators of torch: fake tensors, export, compile, gradients.

Importing this module needs triton.

Shape shorthand: B images, Q masks, P patches, p patch side, D channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..autocast import autocast_dtype
from ..triton_support import kernel_op, num_multiprocessors, power_of_two
from . import kernels as _kernels

kernels: Any = _kernels  # type checkers do not know how triton.jit changes a function

_TILE, _FLOAT32_TILE = (4, 32), (2, 32)  # masks and patches of a program
_BACKWARD_TILE = (4, 16)
_CHANNELS = 32  # of a step, and of a program of the backward pass


def mask_refinement_triton(
    mask_logits: Tensor, query: Tensor, key: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """See `mask_refinement`. Under autocast the products have its dtype, as those of a linear layer."""
    dtype = autocast_dtype(query.device) or weight.dtype
    return torch.ops.masqclip.mask_refinement(mask_logits, query.to(dtype), key.to(dtype), weight.to(dtype), bias)


def _padded(query: Tensor, key: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and transposed weight with the channels and pixels that the kernels expect."""
    channels = -query.shape[-1] % _CHANNELS
    pixels = power_of_two(len(weight)) - len(weight)
    query, key = (F.pad(tensor, (0, channels)) if channels else tensor.contiguous() for tensor in (query, key))
    return query, key, F.pad(weight.T, (0, pixels, 0, channels)).contiguous()


def _sizes(masks: Tensor, query: Tensor, key: Tensor, pixels: int, tile: tuple[int, int]) -> tuple[list[int], dict]:
    """Sizes by position and by name; `query` is padded."""
    height, width = masks.shape[-2:]
    patch = round(pixels**0.5)
    names = {"PATCH": patch, "PIXELS": pixels, "BLOCK_I": tile[0], "BLOCK_J": tile[1], "BLOCK_K": _CHANNELS}
    names |= {"BLOCK_C": power_of_two(pixels), "num_warps": 8}
    return [query.shape[1], key.shape[1], query.shape[2], width // patch, width, height * width], names


@kernel_op("masqclip::mask_refinement")
def _mask_refinement(masks: Tensor, query: Tensor, key: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    refined, maxima = _empty_results(masks, key)
    if refined.numel():
        pixels = len(weight)
        query, key, weight = _padded(query, key, weight)
        tile = _FLOAT32_TILE if query.dtype == torch.float32 else _TILE
        sizes, names = _sizes(masks, query, key, pixels, tile)
        grid = (-(-key.shape[1] // tile[1]), -(-query.shape[1] // tile[0]), len(query))
        kernels._forward_kernel[grid](
            masks.contiguous(), query, key, weight, bias.contiguous(), refined, maxima, *sizes, **names
        )
    return refined, maxima


@_mask_refinement.register_fake
def _(masks: Tensor, query: Tensor, key: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return _empty_results(masks, key)


def _empty_results(masks: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    return masks.new_empty(masks.shape), masks.new_empty((*masks.shape[:2], key.shape[1]), dtype=torch.float32)


@kernel_op("masqclip::mask_refinement_backward")
def _mask_refinement_backward(
    grad: Tensor, query: Tensor, key: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype, (pixels, width) = query.dtype, weight.shape
    query, key, weight = _padded(query, key, weight)
    grad_query, grad_key = (torch.zeros_like(tensor, dtype=torch.float32) for tensor in (query, key))
    side = round(pixels**0.5)
    patches = grad.unflatten(-1, (-1, side)).unflatten(-3, (-1, side))  # (B, Q, h, p, w, p)
    grad_bias = patches.sum(dim=(0, 1, 2, 4), dtype=torch.float32).flatten().to(grad.dtype)
    if not grad.numel():
        of_weight = weight.new_zeros((pixels, width))
        return grad_query[..., :width].to(dtype), grad_key[..., :width].to(dtype), of_weight, grad_bias
    sizes, names = _sizes(grad, query, key, pixels, _BACKWARD_TILE)
    patch_tiles = -(-key.shape[1] // _BACKWARD_TILE[1])
    tiles = patch_tiles * -(-query.shape[1] // _BACKWARD_TILE[0])
    blocks = query.shape[-1] // _CHANNELS
    splits = max(1, min(tiles, 2 * num_multiprocessors(grad.device) // max(1, blocks * len(query))))
    per_split = -(-tiles // splits)
    grid = (blocks, -(-tiles // per_split), len(query))
    grad_weight = query.new_empty((grid[1], len(query), *weight.shape), dtype=torch.float32)
    grad = grad.contiguous()
    sizes += [patch_tiles, tiles, per_split]
    kernels._token_gradient_kernel[grid](grad, query, key, weight, grad_query, grad_key, *sizes, num_stages=1, **names)
    kernels._weight_gradient_kernel[grid](grad, query, key, grad_weight, *sizes, num_stages=1, **names)
    of_weight = grad_weight.sum(dim=(0, 1))[:width, :pixels].T.to(dtype)
    return grad_query[..., :width].to(dtype), grad_key[..., :width].to(dtype), of_weight.contiguous(), grad_bias


@_mask_refinement_backward.register_fake
def _(grad: Tensor, query: Tensor, key: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    empty = [tensor.new_empty(tensor.shape) for tensor in (query, key, weight)]
    return empty[0], empty[1], empty[2], grad.new_empty(weight.shape[:1])


def _setup_context(ctx, inputs, output) -> None:
    _, query, key, weight, bias = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(query, key, weight)
    ctx.bias_dtype = bias.dtype


def _backward(ctx, grad: Tensor, _):
    of_query, of_key, of_weight, of_bias = torch.ops.masqclip.mask_refinement_backward(grad, *ctx.saved_tensors)
    return grad, of_query, of_key, of_weight, of_bias.to(ctx.bias_dtype)


_mask_refinement.register_autograd(_backward, setup_context=_setup_context)
