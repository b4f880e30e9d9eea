"""mask_residual as its formula says. The only definition of correct; holds (B, Q, P, D) products.

Shape shorthand: B images, Q mask proposals, P patches, p patch side, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mask_residual_reference(query: Tensor, key: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See `mask_residual`; computed in float32."""
    product = query.float()[:, :, None] * key.float()[:, None]  # (B, Q, P, D)
    gelu = product * torch.sigmoid(1.702 * product)
    return (gelu @ weight.float().T + bias.float()).to(bias.dtype)
