"""masked_attention by torch's fused attention: no scores are held where the device has a fused kernel.

Shape shorthand: B images, Q mask proposals, P patches, N heads, d = D / N.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_attention_torch(
    query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor, bias: Tensor | None = None
) -> Tensor:
    """See `masked_attention`; without a bias the mask is broadcast over heads, not copied."""
    if query.shape[2] == 0:
        return query  # nobody asks; the fused kernels do not take an empty dimension
    # Kernels differ in what they return (NaN or zeros) for a row without True, so such a row attends everywhere and
    # its result is replaced. No `if`: reading the mask on the host would make an accelerator wait.
    nowhere = ~attend_mask.any(dim=-1, keepdim=True)  # (B, Q, 1)
    mask = (attend_mask | nowhere)[:, None]  # (B, 1, Q, 1 + P)
    if bias is not None:
        mask = bias.to(query.dtype).masked_fill(~mask, -torch.inf)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attended.masked_fill(nowhere[:, None], 0.0)
