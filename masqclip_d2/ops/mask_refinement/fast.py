"""mask_refinement in plain PyTorch, one tile of masks at a time, in the forward and the backward pass.

Neither the (B, Q, P, D) products nor the residual are ever stored. quick_gelu(x) = silu(a x) / a with a = 1.702, and
a is folded into the query and the weight, which are small.

Shape shorthand: B images, Q mask proposals, P = h * w patches, p patch side, D width, R encoder resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..autocast import autocast_dtype, without_autocast

_SLOPE = 1.702  # of QuickGELU
# Elements of a tile's product, (tile, P, D): it fits the cache of a CPU; other devices need few launches.
_TILE_ELEMENTS = {"cpu": 600_000}
_OTHER_TILE_ELEMENTS = 64_000_000


def mask_refinement_torch(mask_logits: Tensor, query: Tensor, key: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See `mask_refinement`. Under autocast the products have its dtype, as those of a linear layer."""
    dtype = autocast_dtype(query.device) or weight.dtype
    query, key, low_weight = (tensor.to(dtype) for tensor in (query, key, weight))
    with without_autocast(query.device):
        return _MaskRefinement.apply(mask_logits, query, key, low_weight, bias)


class _MaskRefinement(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mask_logits: Tensor, query: Tensor, key: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        query, weight = query * _SLOPE, weight / _SLOPE
        ctx.save_for_backward(query, key, weight)
        refined = mask_logits.clone(memory_format=torch.contiguous_format)
        patches = _patches(refined, len(bias))
        for image, masks in _tiles(query, key):
            activated = F.silu(query[image, masks, None] * key[image], inplace=True)  # (tile, P, D)
            residual = (activated.flatten(0, 1) @ weight.T).to(bias.dtype).add_(bias)  # (tile * P, p * p)
            some_patches = patches[image, masks]  # (tile, h, w, p, p)
            some_patches += residual.view(some_patches.shape)
        return refined

    @staticmethod
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]  (torch: *grad_outputs)
        query, key, weight = ctx.saved_tensors
        patches = _patches(grad.contiguous(), len(weight))  # (B, Q, h, w, p, p)
        grad_query, grad_key = torch.empty_like(query), torch.zeros_like(key, dtype=torch.float32)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        for image, masks in _tiles(query, key):
            some_query, some_key = query[image, masks, None], key[image]  # (tile, 1, D), (P, D)
            some_grad = patches[image, masks].flatten(3).flatten(1, 2).to(query.dtype)  # (tile, P, p * p)
            product = some_query * some_key
            grad_weight += some_grad.flatten(0, 1).T @ F.silu(product).flatten(0, 1)
            grad_product = torch.ops.aten.silu_backward(some_grad @ weight, product)  # (tile, P, D)
            grad_query[image, masks] = (grad_product * some_key).sum(dim=1)
            grad_key[image] += (grad_product * some_query).sum(dim=0)
        grad_bias = patches.sum(dim=(0, 1, 2, 3)).flatten()
        return grad, grad_query * _SLOPE, grad_key.to(key.dtype), (grad_weight / _SLOPE).to(weight.dtype), grad_bias


def _patches(masks: Tensor, pixels_of_patch: int) -> Tensor:
    """A view (B, Q, h, w, p, p) of contiguous (B, Q, R, R) masks."""
    side = round(pixels_of_patch**0.5)
    rows, columns = (pixels // side for pixels in masks.shape[-2:])
    return masks.view(*masks.shape[:2], rows, side, columns, side).transpose(3, 4)


def _tiles(query: Tensor, key: Tensor):
    """Yield (image, slice of masks) pairs that cover a batch."""
    elements = _TILE_ELEMENTS.get(query.device.type, _OTHER_TILE_ELEMENTS)
    tile = max(1, elements // max(1, key.shape[1] * key.shape[2]))
    for image in range(len(query)):
        for start in range(0, query.shape[1], tile):
            yield image, slice(start, start + tile)
