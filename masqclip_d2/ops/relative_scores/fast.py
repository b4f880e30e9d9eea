"""relative_scores in plain PyTorch, without mask patch tokens.

With the mean over channels taken out of W and b beforehand (a layer norm does it anyway):

    A'_ij = rstd_ij * (m_ij . (W_h^T (gamma k'_j)_h) + b_h . (gamma k'_j)_h) + sum_c (beta k'_j)_hc
    rstd_ij = (m_ij^T (W^T W / D) m_ij + 2 m_ij . (W^T b / D) + b . b / D + eps)^-1/2

so one vector of p * p values and a constant per patch and head replace all D channels, and the variance is a quadratic
form of the pixels. The cost per mask and patch is p^2 (p^2 + N + 1) instead of D (p^2 + 1), and no tensor has a
dimension of size D.

Shape shorthand: B images, Q mask proposals, P = h * w patches, p patch side, D width, N heads, d = D / N.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...transfers import is_asynchronous
from ..autocast import without_autocast

# Of a tile of pixels, (B, P, tile, p * p): 16 MB in float32 on CPUs; 256 MB elsewhere, where each tile takes launches.
_TILE_ELEMENTS = 4_000_000
_GPU_TILE_ELEMENTS = 64_000_000


def relative_scores_torch(
    mask_logits: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_eps: float,
    relative_key: Tensor,
) -> Tensor:
    """See `relative_scores`; in float32, a few masks at a time, recomputed for the gradient."""
    with without_autocast(mask_logits.device):
        constant, arguments = _arguments(patch_weight, patch_bias, norm_weight, norm_bias, norm_eps, relative_key)
        elements = _GPU_TILE_ELEMENTS if is_asynchronous(mask_logits.device) else _TILE_ELEMENTS
        tile = max(1, elements // max(1, len(mask_logits) * relative_key.shape[2] * patch_weight.shape[-1] ** 2))
        if torch.is_grad_enabled():
            scores = [
                checkpoint(_scores_of, part, *arguments, use_reentrant=False, preserve_rng_state=False)
                for part in mask_logits.split(tile, dim=1)
            ]
        else:
            scores = [_scores_of(part, *arguments) for part in mask_logits.split(tile, dim=1)]
        return torch.cat(scores, dim=2).permute(0, 3, 2, 1) + constant[:, :, None]  # (B, N, Q, P)


def relative_scores_of_all(
    mask_logits: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_eps: float,
    relative_key: Tensor,
) -> Tensor:
    """See `relative_scores`; all masks at once, so that the operators do not depend on their number."""
    constant, arguments = _arguments(patch_weight, patch_bias, norm_weight, norm_bias, norm_eps, relative_key)
    return _scores_of(mask_logits, *arguments).permute(0, 3, 2, 1) + constant[:, :, None]  # (B, N, Q, P)


def _arguments(
    patch_weight: Tensor,
    patch_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_eps: float,
    relative_key: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, int, float]]:
    """The term of `norm_bias` (B, N, P), and the arguments of `_scores_of` after the masks."""
    batch, _, num_patches, _ = relative_key.shape
    weight, product, constant = centered_terms(patch_weight, patch_bias, norm_weight, norm_bias, relative_key)
    variance = weight.T @ weight / len(weight)  # (p * p + 1, p * p + 1)
    # Terms linear in the pixels: N columns for the scores, one for the variance.
    linear = torch.cat([2 * variance[:-1, -1:], variance[-1:, -1:]]).expand(batch, num_patches, -1, 1)
    linear = torch.cat([product.permute(0, 2, 3, 1), linear], dim=-1)  # (B, P, p * p + 1, N + 1)
    quadratic = variance[:-1, :-1].contiguous()
    return constant, (quadratic, linear[:, :, :-1], linear[:, :, -1:], patch_weight.shape[-1], norm_eps)


def centered_weight(patch_weight: Tensor, patch_bias: Tensor) -> Tensor:
    """(D, p * p + 1) float32: W and b without their mean over the channels."""
    weight = torch.cat([patch_weight.flatten(1), patch_bias[:, None]], dim=1).float()
    return weight - weight.mean(dim=0)


def centered_terms(
    patch_weight: Tensor, patch_bias: Tensor, norm_weight: Tensor, norm_bias: Tensor, relative_key: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What the scores need of the parameters, in float32.

    Returns:
        weight: `centered_weight`.
        product: (B, N, P, p * p + 1), W_h^T (gamma k'_j)_h and b_h . (gamma k'_j)_h.
        constant: (B, N, P), the term of `norm_bias`.
    """
    heads, _, head_width = relative_key.shape[1:]
    key = relative_key.float()
    weight = centered_weight(patch_weight, patch_bias)
    scaled_key = key * norm_weight.float().view(heads, 1, head_width)  # (B, N, P, d)
    product = scaled_key @ weight.unflatten(0, (heads, head_width))
    return weight, product, (key * norm_bias.float().view(heads, 1, head_width)).sum(-1)


def _scores_of(
    mask_logits: Tensor, quadratic: Tensor, linear: Tensor, offset: Tensor, patch_size: int, eps: float
) -> Tensor:
    """Scores (B, P, tile, N) of a few masks, without the term of `norm_bias`."""
    batch, num_masks, height, width = mask_logits.shape
    grid = (height // patch_size, patch_size, width // patch_size, patch_size)
    pixels = mask_logits.float().tanh().reshape(batch, num_masks, *grid).permute(0, 2, 4, 1, 3, 5)
    pixels = pixels.reshape(batch, grid[0] * grid[2], num_masks, patch_size**2)  # (B, P, tile, p * p)
    values = pixels @ linear + offset  # (B, P, tile, N + 1)
    variance = ((pixels @ quadratic) * pixels).sum(dim=-1, keepdim=True) + values[..., -1:]
    return values[..., :-1] * (variance.clamp(min=0) + eps).rsqrt()  # rounding may make it negative
