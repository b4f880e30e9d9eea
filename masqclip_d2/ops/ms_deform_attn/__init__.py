"""Multi-scale deformable attention: each query sums a few values sampled from each of several feature maps.

Zhu et al., "Deformable DETR" (ICLR 2021), Eq. 3, without the projections of values and output.

Shape shorthand: B images, S = sum of h * w over the L levels, Lq queries, N heads, d channels per head, P points.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..selection import deterministic_problem, dtype_problem, select_implementation
from .fast import by_grid_sample, ms_deform_attn_torch
from .reference import ms_deform_attn_reference

__all__ = ["ms_deform_attn", "ms_deform_attn_reference"]


def _ms_deform_attn_triton(*arguments) -> Tensor:
    from .autograd import ms_deform_attn_triton

    return ms_deform_attn_triton(*arguments)


IMPLEMENTATIONS = {
    "reference": ms_deform_attn_reference,
    "torch": ms_deform_attn_torch,
    "triton": _ms_deform_attn_triton,
    "export": by_grid_sample,
}


def ms_deform_attn(
    value: Tensor,
    level_hw: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    implementation: str | None = None,
) -> Tensor:
    """Sum over levels and points of attention weight times the value sampled at the point.

    A value is sampled bilinearly at column x * w - 1/2 and row y * h - 1/2 of its level, whose pixel centers
    are at integers. The map is zero-padded, so a sample near the border is blended with zeros.

    Args:
        value: (B, S, N, d) float; the levels are concatenated, each row by row.
        level_hw: (height, width) in pixels of each of the L levels.
        sampling_locations: (B, Lq, N, L, P, 2) float, (x, y), in [0, 1] over the map; may lie outside.
        attention_weights: (B, Lq, N, L, P) float, after the softmax.
        implementation: "auto", "reference", "torch" or "triton"; None: MASQCLIP_OPS, see `masqclip_d2.ops.selection`.

    Returns:
        (B, Lq, N * d) in the dtype of `value`, heads concatenated.

    Raises:
        ValueError: shapes disagree, or there is no such implementation.
    """
    _check_arguments(value, level_hw, sampling_locations, attention_weights)
    unsupported = dtype_problem(value, sampling_locations, attention_weights) or deterministic_problem(value)
    function = select_implementation("ms_deform_attn", IMPLEMENTATIONS, value.device, implementation, unsupported)
    return function(value, level_hw, sampling_locations, attention_weights)


def _check_arguments(value: Tensor, level_hw, sampling_locations: Tensor, attention_weights: Tensor) -> None:
    if value.dim() != 4:
        raise ValueError(f"value must have shape (B, S, N, d), got {tuple(value.shape)}.")
    batch, size, heads, _ = value.shape
    if size != sum(height * width for height, width in level_hw):
        raise ValueError(f"value has {size} positions, but the levels {list(level_hw)} have another number of pixels.")
    if sampling_locations.dim() != 6 or sampling_locations.shape[-1] != 2:
        raise ValueError(
            f"sampling_locations must have shape (B, Lq, N, L, P, 2), got {tuple(sampling_locations.shape)}."
        )
    if attention_weights.shape != sampling_locations.shape[:-1]:
        raise ValueError(
            f"attention_weights must have the shape of sampling_locations without (x, y), "
            f"{tuple(sampling_locations.shape[:-1])}, got {tuple(attention_weights.shape)}."
        )
    got = (sampling_locations.shape[0], *sampling_locations.shape[2:4])
    if got != (batch, heads, len(level_hw)):
        raise ValueError(
            f"sampling_locations is for (images, heads, levels) = {got}, value and level_hw are for "
            f"{(batch, heads, len(level_hw))}."
        )
