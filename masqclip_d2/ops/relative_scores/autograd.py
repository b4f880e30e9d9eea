"""relative_scores with the kernel of `kernels.py`, as an operator of torch: fake tensors, export, compile.

Gradients are those of the plain implementation, which is run again in the backward pass. Importing this module needs
triton.

Shape shorthand: B images, Q masks, P patches, p patch side, D width, N heads, d = D / N.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..autocast import without_autocast
from ..triton_support import kernel_op, power_of_two
from . import kernels as _kernels
from . import variance_root
from .fast import centered_terms, relative_scores_torch

kernels: Any = _kernels  # type checkers do not know how triton.jit changes a function

_STEP = 16  # pixels of a step
_MASKS = 64  # of a program


def relative_scores_triton(
    mask_logits: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_eps: float,
    relative_key: Tensor,
    scale: float,
    class_token: bool,
    dtype: torch.dtype,
    root: Tensor | None,
) -> Tensor:
    """See `relative_scores`; computes in float32."""
    parameters = (patch_weight, patch_bias, norm_weight, norm_bias, norm_eps)
    with without_autocast(mask_logits.device):  # which would reach the products before the kernel
        if root is None:
            root = variance_root(patch_weight.detach(), patch_bias.detach())
        return torch.ops.masqclip.relative_scores(
            mask_logits, *parameters, relative_key, root.detach(), scale, class_token, dtype
        )


@kernel_op("masqclip::relative_scores")
def _relative_scores(
    mask_logits: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_eps: float,
    relative_key: Tensor,
    root: Tensor,
    scale: float,
    class_token: bool,
    dtype: torch.dtype,
) -> Tensor:
    scores = _empty_scores(mask_logits, relative_key, class_token, dtype)
    if not scores.numel():
        return scores
    batch, heads, num_patches, _ = relative_key.shape
    num_masks, (height, width) = mask_logits.shape[1], mask_logits.shape[-2:]
    patch = patch_weight.shape[-1]
    pixels = patch * patch
    rows = -(-(pixels + 1) // _STEP) * _STEP
    _, product, constant = centered_terms(patch_weight, patch_bias, norm_weight, norm_bias, relative_key)
    linear = product.new_zeros((batch, num_patches, rows, power_of_two(heads)))
    linear[:, :, : pixels + 1, :heads] = product.permute(0, 2, 3, 1)
    constant = constant.transpose(1, 2).contiguous()  # (B, P, N)
    block_m = min(_MASKS, power_of_two(num_masks))
    kernels._forward_kernel[(num_patches, -(-num_masks // block_m), batch)](
        mask_logits.contiguous(), _padded(root, rows, power_of_two(pixels + 1)), linear, constant, scores, num_masks,
        num_patches, width // patch, width, height * width, norm_eps, scale, PATCH=patch, PIXELS=pixels, ROWS=rows,
        N=heads, BLOCK_N=linear.shape[-1], BLOCK_M=block_m, BLOCK_K=_STEP, BLOCK_C=power_of_two(pixels + 1),
        CLASS_TOKEN=class_token, num_warps=8,
    )  # fmt: skip
    return scores


def _padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """A matrix with further rows and columns of zeros."""
    padded = matrix.new_zeros((rows, columns))
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded


@_relative_scores.register_fake
def _(
    mask_logits,
    patch_weight,
    patch_bias,
    norm_weight,
    norm_bias,
    norm_eps,
    relative_key,
    root,
    scale,
    class_token,
    dtype,
) -> Tensor:
    return _empty_scores(mask_logits, relative_key, class_token, dtype)


def _empty_scores(mask_logits: Tensor, relative_key: Tensor, class_token: bool, dtype: torch.dtype) -> Tensor:
    batch, heads, num_patches, _ = relative_key.shape
    return mask_logits.new_empty((batch, heads, mask_logits.shape[1], class_token + num_patches), dtype=dtype)


def _setup_context(ctx, inputs, output) -> None:
    *tensors, ctx.norm_eps, relative_key, _, ctx.scale, ctx.class_token, _ = inputs
    ctx.save_for_backward(*tensors, relative_key)


def _backward(ctx, grad: Tensor):
    tensors = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
    masks, weight, bias, norm_weight, norm_bias, key = tensors
    with torch.enable_grad(), without_autocast(grad.device):
        scores = relative_scores_torch(masks, weight, bias, norm_weight, norm_bias, ctx.norm_eps, key)
    grads = torch.autograd.grad(scores, tensors, grad[..., int(ctx.class_token) :].float() * ctx.scale)
    return *grads[:5], None, grads[5], None, None, None, None


_relative_scores.register_autograd(_backward, setup_context=_setup_context)
