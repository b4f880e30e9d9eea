"""Scores of mask patch tokens against image tokens: the relative term of Relative Mask Attention (MaskCLIP, Eq. 4).

Shape shorthand: B images, Q mask proposals, P = h * w patches (row by row), p patch side, D width, N heads, d = D / N,
R encoder resolution.
"""

from __future__ import annotations

from torch import Tensor

from ..selection import dtype_problem, select_implementation
from .fast import relative_scores_torch
from .reference import relative_scores_reference

__all__ = ["relative_scores", "relative_scores_reference"]


def _relative_scores_triton(*arguments) -> Tensor:
    from .autograd import relative_scores_triton

    return relative_scores_triton(*arguments)


IMPLEMENTATIONS = {
    "reference": relative_scores_reference,
    "torch": relative_scores_torch,
    "triton": _relative_scores_triton,
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
) -> Tensor:
    """A'_ij = sum_c LayerNorm(W m_ij + b)_c k'_jc within each head, m_ij the tanh of mask i's logits in patch j.

    W m_ij + b are the mask patch tokens T_MP of the paper; the torch implementation never computes them.

    Args:
        mask_logits: (B, Q, R, R) float; Q may be 0.
        patch_weight, patch_bias: (D, 1, p, p) and (D,), the convolution from mask patches to tokens.
        norm_weight, norm_bias, norm_eps: (D,), (D,) and a number, of the layer norm over all D channels.
        relative_key: (B, N, P, d), phi_Km of the image tokens.
        implementation: "auto", "reference", "torch" or "triton"; None: MASQCLIP_OPS, see `masqclip_d2.ops.selection`.

    Returns:
        (B, N, Q, P) float32, not divided by sqrt(d). Gradients flow to every tensor argument.

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
    return compute(mask_logits, patch_weight, patch_bias, norm_weight, norm_bias, norm_eps, relative_key)
