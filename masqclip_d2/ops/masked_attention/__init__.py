"""Attention of mask class tokens over the shared keys and values of the class token and the patches.

Shape shorthand: B images, Q mask proposals, P patches, N heads, d = D / N.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..selection import select_implementation
from .fast import masked_attention_torch
from .reference import masked_attention_reference

__all__ = ["masked_attention", "masked_attention_reference"]

IMPLEMENTATIONS = {"reference": masked_attention_reference, "torch": masked_attention_torch}


def masked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attend_mask: Tensor,
    bias: Tensor | None = None,
    implementation: str | None = None,
) -> Tensor:
    """Attention of mask class tokens to the tokens that their masks allow.

    softmax(Q K^T / sqrt(d) + bias + M) V with M = 0 where `attend_mask` is True and -inf elsewhere (MaskCLIP, Sec. 3.2;
    its Eq. 2 has the opposite polarity).

    Args:
        query: (B, N, Q, d) of the mask class tokens, not yet divided by sqrt(d). Q may be 0.
        key, value: (B, N, 1 + P, d) of the class token and the patches, shared by all mask class tokens.
        attend_mask: (B, Q, 1 + P) bool, True = may attend; one mask for all heads. A row without True
            returns zeros.
        bias: (B, N, Q, 1 + P) float, added to the scores; -inf excludes a token, as False does. None: no bias.
        implementation: "auto", "reference" or "torch"; None: MASQCLIP_OPS, see `masqclip_d2.ops.selection`.

    Returns:
        (B, N, Q, d) in the dtype of `query`; the softmax runs in float32.

    Raises:
        ValueError: shapes disagree, `attend_mask` is not bool, or there is no such implementation.
    """
    batch, _, num_queries, _ = query.shape
    expected = (batch, num_queries, key.shape[2])
    if tuple(attend_mask.shape) != expected or attend_mask.dtype != torch.bool:
        raise ValueError(
            f"attend_mask must be bool of shape (B, Q, 1 + P) = {expected} to fit query {tuple(query.shape)} and key "
            f"{tuple(key.shape)}, got {attend_mask.dtype} {tuple(attend_mask.shape)}."
        )
    if bias is not None and tuple(bias.shape) != (*query.shape[:3], key.shape[2]):
        raise ValueError(
            f"bias must be (B, N, Q, 1 + P) = {(*query.shape[:3], key.shape[2])}, got {tuple(bias.shape)}."
        )
    compute = select_implementation("masked_attention", IMPLEMENTATIONS, query.device, implementation)
    return compute(query, key, value, attend_mask, bias)
