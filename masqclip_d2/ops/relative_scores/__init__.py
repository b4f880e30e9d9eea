"""Scores of mask patch tokens against image tokens: the relative term of Relative Mask Attention (MaskCLIP, Eq. 4).

Shape shorthand: B images, Q mask proposals, P = h * w patches (row by row), p patch side, D width, N heads, d = D / N,
R encoder resolution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..selection import dtype_problem, select_implementation
from .fast import centered_weight, relative_scores_of_all, relative_scores_torch
from .reference import relative_scores_reference

__all__ = ["relative_scores", "relative_scores_reference", "variance_root"]


def _relative_scores_triton(*arguments) -> Tensor:
    from .autograd import relative_scores_triton

    return relative_scores_triton(*arguments)


def _then_finished(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Scale, zero column and dtype as operations of their own, after a plain implementation."""

    def compute(*arguments) -> Tensor:
        *inputs, scale, class_token, dtype, _ = arguments
        scores = function(*inputs)
        scores = scores if scale == 1 else scores * scale
        return (F.pad(scores, (1, 0)) if class_token else scores).to(dtype)

    return compute


IMPLEMENTATIONS = {
    "reference": _then_finished(relative_scores_reference),
    "torch": _then_finished(relative_scores_torch),
    "triton": _relative_scores_triton,
    "export": _then_finished(relative_scores_of_all),
}


def relative_scores(
    mask_logits: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_eps: float,
    relative_key: Tensor,
    implementation: str | None = None,
    *,
    scale: float = 1.0,
    class_token: bool = False,
    dtype: torch.dtype = torch.float32,
    root: Tensor | None = None,
) -> Tensor:
    """A'_ij = sum_c LayerNorm(W m_ij + b)_c k'_jc within each head, m_ij the tanh of mask i's logits in patch j.

    W m_ij + b are the mask patch tokens T_MP of the paper; the torch implementation never computes them.

    Args:
        mask_logits: (B, Q, R, R) float; Q may be 0.
        patch_weight, patch_bias: (D, 1, p, p) and (D,), the convolution from mask patches to tokens.
        norm_weight, norm_bias, norm_eps: (D,), (D,) and a number, of the layer norm over all D channels.
        relative_key: (B, N, P, d), phi_Km of the image tokens.
        implementation: "auto", "reference", "torch" or "triton"; None: MASQCLIP_OPS, see `masqclip_d2.ops.selection`.
        scale: factor of the scores.
        class_token: put a column of zeros, for the class token, before the patches.
        dtype: of the result; the scores are computed in float32.
        root: `variance_root` of the convolution, for inference; None: computed where it is needed.

    Returns:
        (B, N, Q, P), with `class_token` (B, N, Q, 1 + P); not divided by sqrt(d). Gradients flow to every tensor
        argument but `root`.

    Raises:
        ValueError: shapes disagree, or there is no such implementation.
    """
    batch, heads, num_patches, head_width = relative_key.shape
    width, _, patch_size, _ = patch_weight.shape
    if mask_logits.dim() != 4 or len(mask_logits) != batch or width != heads * head_width:
        raise ValueError(
            f"mask_logits {tuple(mask_logits.shape)}, patch_weight {tuple(patch_weight.shape)} and relative_key "
            f"{tuple(relative_key.shape)} do not fit: expected (B, Q, R, R), (D, 1, p, p) and (B, N, P, D / N)."
        )
    height, width = mask_logits.shape[-2:]
    if height % patch_size or width % patch_size or height * width != num_patches * patch_size**2:
        raise ValueError(
            f"A mask of {height} x {width} pixels is not made of as many patches of {patch_size} x {patch_size} as "
            f"relative_key has, {num_patches}."
        )
    unsupported = dtype_problem(mask_logits, patch_weight, norm_weight, relative_key)
    compute = select_implementation("relative_scores", IMPLEMENTATIONS, mask_logits.device, implementation, unsupported)
    parameters = (patch_weight, patch_bias, norm_weight, norm_bias, norm_eps)
    return compute(mask_logits, *parameters, relative_key, scale, class_token, dtype, root)


def variance_root(patch_weight: Tensor, patch_bias: Tensor) -> Tensor:
    """A root of the variance of mask patch tokens over their channels, a quadratic form of the pixels.

    It depends on the weights alone, and takes longer than the scores.

    Args:
        patch_weight, patch_bias: (D, 1, p, p) and (D,).

    Returns:
        (p * p + 1, min(D, p * p + 1)) float32, lower triangular: root root^T = W^T W / D, where W (D, p * p + 1) are
        weight and bias without their means over the channels. By a QR decomposition, which also accepts weights of a
        lower rank.
    """
    weight = centered_weight(patch_weight, patch_bias)
    return torch.linalg.qr(weight / len(weight) ** 0.5, mode="r").R.T.contiguous()
