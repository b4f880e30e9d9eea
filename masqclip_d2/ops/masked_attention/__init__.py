"""Attention inside masks: of mask class tokens to CLIP's tokens, and of the mask decoder's queries to a feature map.

Shape shorthand: B images, Q queries (one per mask), L keys, N heads, d channels per head, C mask channels. For mask
class tokens the keys are the class token and the P patches, L = 1 + P.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..selection import dtype_problem, select_implementation
from .attend_bits import AttendBits
from .fast import masked_attention_torch
from .reference import masked_attention_reference

__all__ = [
    "AttendBits",
    "masked_attention",
    "masked_attention_reference",
    "pack_attend_mask",
    "predicted_attend_mask",
]

EMPTY_ROWS = ("zeros", "everywhere")


def _masked_attention_triton(*arguments) -> Tensor:
    from .autograd import masked_attention_triton

    return masked_attention_triton(*arguments)


IMPLEMENTATIONS = {
    "reference": masked_attention_reference,
    "torch": masked_attention_torch,
    "triton": _masked_attention_triton,
}


def masked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attend_mask: Tensor | AttendBits,
    bias: Tensor | None = None,
    implementation: str | None = None,
    empty_rows: str = "zeros",
) -> Tensor:
    """Attention of each query to the keys that its mask allows.

    softmax(Q K^T / sqrt(d) + bias + M) V with M = 0 where `attend_mask` is True and -inf elsewhere (MaskCLIP, Sec. 3.2;
    its Eq. 2 has the opposite polarity).

    Args:
        query: (B, N, Q, d), not yet divided by sqrt(d). Q may be 0.
        key, value: (B, N, L, d), shared by all queries.
        attend_mask: (B, Q, L) bool, True = may attend; one mask for all heads. Or its bits, see `pack_attend_mask`.
        bias: (B, N, Q, L) float, added to the scores; -inf excludes a key, as False does. None: no bias.
        implementation: "auto", "reference", "torch" or "triton"; None: MASQCLIP_OPS, see `masqclip_d2.ops.selection`.
        empty_rows: what a query gets whose row has no True: "zeros" (mask class tokens), or attention "everywhere"
            (Mask2Former's decoder; without a bias only).

    Returns:
        (B, N, Q, d) in the dtype of `query`; the softmax runs in float32.

    Raises:
        ValueError: shapes disagree, `attend_mask` is not bool, or there is no such implementation or rule.
    """
    batch, _, num_queries, _ = query.shape
    expected = (batch, num_queries, key.shape[2])
    is_mask = isinstance(attend_mask, AttendBits) or attend_mask.dtype == torch.bool
    if tuple(attend_mask.shape) != expected or not is_mask:
        raise ValueError(
            f"attend_mask must be bool of shape (B, Q, L) = {expected} to fit query {tuple(query.shape)} and key "
            f"{tuple(key.shape)}, got {getattr(attend_mask, 'dtype', 'bits')} {tuple(attend_mask.shape)}."
        )
    if bias is not None and tuple(bias.shape) != (*query.shape[:3], key.shape[2]):
        raise ValueError(f"bias must be (B, N, Q, L) = {(*query.shape[:3], key.shape[2])}, got {tuple(bias.shape)}.")
    if empty_rows not in EMPTY_ROWS or (empty_rows == "everywhere" and bias is not None):
        raise ValueError(f"empty_rows is 'zeros' or, without a bias, 'everywhere'; got {empty_rows!r}.")
    unsupported = dtype_problem(query, key, value, bias)
    compute = select_implementation("masked_attention", IMPLEMENTATIONS, query.device, implementation, unsupported)
    if isinstance(attend_mask, AttendBits) and compute is not _masked_attention_triton:
        attend_mask = attend_mask.unpack()
    return compute(query, key, value, attend_mask, bias, empty_rows == "everywhere")


def pack_attend_mask(mask: Tensor, implementation: str | None = None) -> Tensor | AttendBits:
    """The form of an attend mask that `masked_attention` reads on this device, for a mask that is used several times.

    Args:
        mask: (B, Q, L) bool.
        implementation: as for `masked_attention`.

    Returns:
        Its bits where the kernels are used, else the mask.

    Raises:
        ValueError: see `masked_attention`.
    """
    compute = select_implementation("masked_attention", IMPLEMENTATIONS, mask.device, implementation)
    if compute is not _masked_attention_triton:
        return mask
    from .autograd import pack_attend_mask_triton

    return pack_attend_mask_triton(mask)


@torch.no_grad()
def predicted_attend_mask(
    embedding: Tensor, features: Tensor, implementation: str | None = None
) -> Tensor | AttendBits:
    """Attend mask of the pixels inside predicted masks: embedding @ features >= 0 (Mask2Former, Eq. 2).

    Args:
        embedding: (B, Q, C) float, one per mask.
        features: (B, C, L) float of the pixels.
        implementation: as for `masked_attention`.

    Returns:
        Bits of (B, Q, L) where the kernels are used, else bool. Empty masks stay empty.

    Raises:
        ValueError: shapes disagree; see `masked_attention` for the others.
    """
    if embedding.dim() != 3 or features.dim() != 3 or features.shape[:2] != embedding.shape[::2]:
        raise ValueError(f"embedding {tuple(embedding.shape)} and features {tuple(features.shape)} do not fit.")
    unsupported = dtype_problem(embedding, features)
    compute = select_implementation("masked_attention", IMPLEMENTATIONS, embedding.device, implementation, unsupported)
    if compute is not _masked_attention_triton:
        return embedding @ features >= 0
    from .autograd import predicted_attend_mask_triton

    return predicted_attend_mask_triton(embedding, features)
