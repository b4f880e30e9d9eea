"""masked_attention by `scaled_dot_product_attention`: scores are not stored where the device has a fused kernel.

Shape shorthand: B images, Q queries, L keys, N heads, d = D / N.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import masked_attention_reference


def masked_attention_torch(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attend_mask: Tensor,
    bias: Tensor | None = None,
    everywhere: bool = False,
) -> Tensor:
    """See `masked_attention`; without a bias the mask is broadcast over heads, not copied."""
    if query.shape[2] == 0:
        # Fused kernels refuse an empty dimension. The reference accepts it and keeps every input in the graph, so that
        # a distributed run gets zero gradients instead of waiting for them.
        return masked_attention_reference(query, key, value, attend_mask, bias, everywhere)
    # Kernels return NaN or zeros for a row without True, so such a row attends everywhere and its result is replaced.
    # No `if`: reading the mask on the host would synchronize with the accelerator.
    if bias is None:
        nowhere = ~attend_mask.any(dim=-1, keepdim=True)[:, None]  # (B, 1, Q, 1)
        mask = attend_mask[:, None] | nowhere  # (B, 1, Q, L)
    else:
        mask = bias.to(query.dtype).masked_fill(~attend_mask[:, None], -torch.inf)  # (B, N, Q, L)
        nowhere = mask.isneginf().all(dim=-1, keepdim=True)
        mask = mask.masked_fill(nowhere, 0.0)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attended if everywhere else attended.masked_fill(nowhere, 0.0)
