"""Reference of relative_scores: the formula in float32, and the only definition of correct.

Stores the (B, Q, P, D) mask patch tokens.

Shape shorthand: B images, Q mask proposals, P = h * w patches, p patch side, D width, N heads, d = D / N.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def relative_scores_reference(
    mask_logits: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_eps: float,
    relative_key: Tensor,
) -> Tensor:
    """See `relative_scores`."""
    batch, num_masks = mask_logits.shape[:2]
    heads, num_patches, head_width = relative_key.shape[1:]
    width = heads * head_width
    tokens = F.conv2d(
        mask_logits.float().tanh().flatten(0, 1)[:, None],
        patch_weight.float(),
        patch_bias.float(),
        stride=patch_weight.shape[-1],
    )  # (B * Q, D, h, w)
    tokens = tokens.flatten(2).transpose(1, 2).reshape(batch, num_masks, num_patches, width)
    tokens = F.layer_norm(tokens, (width,), norm_weight.float(), norm_bias.float(), norm_eps)
    per_head = tokens.unflatten(-1, (heads, head_width))  # (B, Q, P, N, d)
    return torch.einsum("bqpnd,bnpd->bnqp", per_head, relative_key.float())
