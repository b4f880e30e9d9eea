"""relative_scores without mask patch tokens.

With the mean over channels taken out of W and b beforehand (a layer norm does it anyway), and m~ = (m, 1) the pixels of
a patch with a one behind them, W~ = (W, b):

    A'_ij = rstd_ij * m~_ij . (W~_h^T (gamma k'_j)_h) + sum_c (beta k'_j)_hc
    rstd_ij = (m~_ij^T (W~^T W~ / D) m~_ij + eps)^-1/2

so per patch and head one vector of p * p + 1 numbers stands for all D channels, and the variance is a quadratic form of
the pixels. The work per mask and patch is p^2 (p^2 + N) instead of D (p^2 + 1), and nothing of size D is held.

Shape shorthand: B images, Q mask proposals, P = h * w patches, p patch side, S = p * p + 1, D width, N heads,
d = D / N.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..autocast import without_autocast

_TILE_ELEMENTS = 4_000_000  # of the pixels at hand, (B, P, tile, S): 16 MB in float32


def relative_scores_torch(
    mask: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_eps: float,
    relative_key: Tensor,
) -> Tensor:
    """See `relative_scores`; in float32, a few masks at a time, whose pixels are made again for the gradient."""
    with without_autocast(mask.device):
        heads, num_patches, head_width = relative_key.shape[1:]
        patch_size = patch_weight.shape[-1]
        key = relative_key.float()
        weight = torch.cat([patch_weight.flatten(1), patch_bias[:, None]], dim=1).float()  # (D, S)
        weight = weight - weight.mean(dim=0)
        gram = weight.T @ weight / len(weight)  # (S, S)
        scaled_key = key * norm_weight.float().view(heads, 1, head_width)  # (B, N, P, d)
        direction = scaled_key @ weight.unflatten(0, (heads, head_width))  # (B, N, P, S)
        direction = direction.permute(0, 2, 3, 1)  # (B, P, S, N)
        constant = (key * norm_bias.float().view(heads, 1, head_width)).sum(-1)  # (B, N, P)
        tile = max(1, _TILE_ELEMENTS // max(1, len(mask) * num_patches * (patch_size**2 + 1)))
        arguments = (gram, direction, patch_size, norm_eps)
        if torch.is_grad_enabled():
            scores = [
                checkpoint(_scores_of, part, *arguments, use_reentrant=False, preserve_rng_state=False)
                for part in mask.split(tile, dim=1)
            ]
        else:
            scores = [_scores_of(part, *arguments) for part in mask.split(tile, dim=1)]
        return torch.cat(scores, dim=2).permute(0, 3, 2, 1) + constant[:, :, None]  # (B, N, Q, P)


def _scores_of(mask: Tensor, gram: Tensor, direction: Tensor, patch_size: int, eps: float) -> Tensor:
    """rstd * m~ . direction of a few masks: (B, P, tile, N)."""
    batch, num_masks, height, width = mask.shape
    grid = (height // patch_size, patch_size, width // patch_size, patch_size)
    pixels = mask.float().reshape(batch, num_masks, *grid).permute(0, 2, 4, 1, 3, 5)  # (B, h, w, tile, p, p)
    pixels = F.pad(
        pixels.reshape(batch, grid[0] * grid[2], num_masks, patch_size**2), (0, 1), value=1.0
    )  # (B, P, tile, S)
    variance = ((pixels @ gram) * pixels).sum(dim=-1, keepdim=True)
    return pixels @ direction * (variance + eps).rsqrt()
