"""masked_attention as its formula says, in float32. The only definition of correct.

Shape shorthand: B images, Q mask proposals, P patches, N heads, d = D / N.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_attention_reference(
    query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor, bias: Tensor | None = None
) -> Tensor:
    """See `masked_attention`; holds (B, N, Q, 1 + P) scores."""
    scores = torch.einsum("bnqd,bnkd->bnqk", query.float(), key.float()) / query.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias.float()
    may_attend = attend_mask[:, None]  # (B, 1, Q, 1 + P)
    scores = scores.masked_fill(~may_attend, -torch.inf)
    nowhere = ~may_attend.any(dim=-1, keepdim=True)  # there the softmax is 0 / 0 = NaN
    weights = scores.softmax(dim=-1).masked_fill(nowhere, 0.0)
    return torch.einsum("bnqk,bnkd->bnqd", weights, value.float()).to(query.dtype)
