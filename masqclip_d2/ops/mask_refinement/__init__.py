"""Mask refinement: a residual from query and key of each patch is added to the mask logits (MaskCLIP, Eq. 5).

Shape shorthand: B images, Q mask proposals, P = h * w patches (row by row), p patch side, D width, R encoder
resolution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from ..selection import deterministic_problem, dtype_problem, select_implementation
from .fast import mask_refinement_torch
from .reference import mask_refinement_reference

__all__ = ["mask_refinement", "mask_refinement_reference", "mask_refinement_with_maxima", "patch_maxima"]


def _mask_refinement_triton(*arguments) -> tuple[Tensor, Tensor]:
    from .autograd import mask_refinement_triton

    return mask_refinement_triton(*arguments)


def _with_maxima(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Largest logits of patches by a further pass over the masks, after a plain implementation."""

    def compute(mask_logits: Tensor, query: Tensor, key: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        refined = function(mask_logits, query, key, weight, bias)
        return refined, patch_maxima(refined.detach(), round(len(bias) ** 0.5))

    return compute


IMPLEMENTATIONS = {
    "reference": _with_maxima(mask_refinement_reference),
    "torch": _with_maxima(mask_refinement_torch),
    "triton": _mask_refinement_triton,
    "export": _with_maxima(mask_refinement_reference),
}


def patch_maxima(mask_logits: Tensor, patch_size: int) -> Tensor:
    """Largest logit of each patch: (B, Q, R, R) -> (B, Q, P) float32; Q may be 0; NaN for a patch with a NaN."""
    batch, num_masks = mask_logits.shape[:2]
    # Max-pooling accepts an empty batch but not empty channels, so masks are the batch dimension.
    largest = F.max_pool2d(mask_logits.flatten(0, 1)[:, None], patch_size)  # (B * Q, 1, h, w)
    return largest.reshape(batch, num_masks, largest.shape[-2] * largest.shape[-1]).float()


def mask_refinement(
    mask_logits: Tensor,
    query: Tensor,
    key: Tensor,
    weight: Tensor,
    bias: Tensor,
    implementation: str | None = None,
) -> Tensor:
    """The refined masks of `mask_refinement_with_maxima` alone."""
    return mask_refinement_with_maxima(mask_logits, query, key, weight, bias, implementation)[0]


def mask_refinement_with_maxima(
    mask_logits: Tensor,
    query: Tensor,
    key: Tensor,
    weight: Tensor,
    bias: Tensor,
    implementation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Add W quick_gelu(q_i * k_j) + b to the p * p pixels of mask i in patch j; q_i * k_j is channel-wise.

    Args:
        mask_logits: (B, Q, R, R) float, R * R = P * p * p; not changed. Q may be 0.
        query: (B, Q, D) of the mask class tokens, heads concatenated, divided by sqrt(d).
        key: (B, P, D) of the patches, heads concatenated.
        weight, bias: (p * p, D) and (p * p,), the pixels of a patch row by row.
        implementation: "auto", "reference", "torch" or "triton"; None: MASQCLIP_OPS, see `masqclip_d2.ops.selection`.

    Returns:
        (B, Q, R, R) in the dtype of `mask_logits`, with gradients to every tensor; and their `patch_maxima`, without.

    Raises:
        ValueError: shapes disagree, or there is no such implementation.
    """
    if query.dim() != 3 or key.dim() != 3 or len(query) != len(key) or query.shape[-1] != key.shape[-1]:
        raise ValueError(f"query {tuple(query.shape)} and key {tuple(key.shape)} do not fit: (B, Q, D) and (B, P, D).")
    if tuple(weight.shape) != (len(bias), query.shape[-1]):
        raise ValueError(f"weight must be (p * p, D) = {(len(bias), query.shape[-1])}, got {tuple(weight.shape)}.")
    height, width = mask_logits.shape[-2:]
    side = round(len(bias) ** 0.5)
    whole_patches = side * side == len(bias) and height % side == 0 and width % side == 0
    if mask_logits.shape[:2] != query.shape[:2] or not whole_patches or height * width != key.shape[1] * len(bias):
        raise ValueError(
            f"mask_logits {tuple(mask_logits.shape)} do not fit {query.shape[1]} masks of {key.shape[1]} patches of "
            f"{len(bias)} pixels in each of {len(query)} images."
        )
    unsupported = dtype_problem(mask_logits, query, key, weight, bias) or deterministic_problem(query, key)
    compute = select_implementation("mask_refinement", IMPLEMENTATIONS, query.device, implementation, unsupported)
    return compute(mask_logits, query, key, weight, bias)
