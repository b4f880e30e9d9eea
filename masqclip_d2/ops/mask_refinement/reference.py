"""Reference of mask_refinement: the formula, and the only definition of correct. Stores the (B, Q, P, D) products.

Shape shorthand: B images, Q mask proposals, P = h * w patches, p patch side, D width, R encoder resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mask_refinement_reference(mask_logits: Tensor, query: Tensor, key: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See `mask_refinement`; computed in float32."""
    product = query.float()[:, :, None] * key.float()[:, None]  # (B, Q, P, D)
    gelu = product * torch.sigmoid(1.702 * product)
    residual = gelu @ weight.float().T + bias.float()  # (B, Q, P, p * p)
    side = round(len(bias) ** 0.5)
    rows, columns = (pixels // side for pixels in mask_logits.shape[-2:])
    grid = residual.unflatten(2, (rows, columns)).unflatten(-1, (side, side))  # (B, Q, h, w, p, p)
    return mask_logits + grid.transpose(3, 4).reshape(mask_logits.shape).to(mask_logits.dtype)
