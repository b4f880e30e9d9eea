"""What is added to a mask's logits inside each patch: the residual of mask refinement (MaskCLIP, Eq. 5).

Shape shorthand: B images, Q mask proposals, P patches (row by row), p patch side, D width.
"""

from __future__ import annotations

from torch import Tensor

from ..selection import select_implementation
from .fast import mask_residual_torch
from .reference import mask_residual_reference

__all__ = ["mask_residual", "mask_residual_reference"]

_IMPLEMENTATIONS = {"reference": mask_residual_reference, "torch": mask_residual_torch}


def mask_residual(
    query: Tensor, key: Tensor, weight: Tensor, bias: Tensor, implementation: str | None = None
) -> Tensor:
    """W quick_gelu(q_i * k_j) + b for every mask i and patch j, with the channel-wise product of query and key.

    Args:
        query: (B, Q, D) of the mask class tokens, heads concatenated, divided by sqrt(d). Q may be 0.
        key: (B, P, D) of the patches, heads concatenated.
        weight, bias: (p * p, D) and (p * p,).
        implementation: "auto", "reference" or "torch"; None: the environment variable MASQCLIP_OPS, else "auto".

    Returns:
        (B, Q, P, p * p) in the dtype of `bias`, the pixels of a patch row by row. Gradients flow to every tensor.

    Raises:
        ValueError: shapes disagree, or there is no such implementation.
    """
    if query.dim() != 3 or key.dim() != 3 or len(query) != len(key) or query.shape[-1] != key.shape[-1]:
        raise ValueError(f"query {tuple(query.shape)} and key {tuple(key.shape)} do not fit: (B, Q, D) and (B, P, D).")
    if tuple(weight.shape) != (len(bias), query.shape[-1]):
        raise ValueError(f"weight must be (p * p, D) = {(len(bias), query.shape[-1])}, got {tuple(weight.shape)}.")
    compute = select_implementation("mask_residual", _IMPLEMENTATIONS, query.device, implementation)
    return compute(query, key, weight, bias)
