"""Reference of masked_attention: the formula in float32, and the only definition of correct.

Shape shorthand: B images, Q queries, L keys, N heads, d = D / N.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_attention_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attend_mask: Tensor,
    bias: Tensor | None = None,
    everywhere: bool = False,
) -> Tensor:
    """See `masked_attention`; stores the (B, N, Q, L) scores."""
    scores = torch.einsum("bnqd,bnkd->bnqk", query.float(), key.float()) / query.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias.float()
    if everywhere:
        attend_mask = attend_mask | ~attend_mask.any(dim=-1, keepdim=True)
    scores = scores.masked_fill(~attend_mask[:, None], -torch.inf)
    nowhere = scores.isneginf().all(dim=-1, keepdim=True)  # else the softmax would be 0 / 0 = NaN
    weights = scores.masked_fill(nowhere, 0.0).softmax(dim=-1).masked_fill(nowhere, 0.0)
    return torch.einsum("bnqk,bnkd->bnqd", weights, value.float()).to(query.dtype)
