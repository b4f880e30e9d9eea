"""Sampling of maps at points, and selection of uncertain points.

Kirillov et al., "PointRend: Image Segmentation as Rendering", CVPR 2020, section 3.1 (training).
Letters: N maps, C channels, P points. Point coordinates are (x, y) in [0, 1] of the map, (0, 0) its top left corner.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def point_sample(input: Tensor, point_coords: Tensor, **kwargs) -> Tensor:
    """Sample a map at points, bilinearly unless `mode` is given.

    Args:
        input: (N, C, H, W).
        point_coords: (N, P, 2) or (N, Hg, Wg, 2), (x, y) in [0, 1].
        kwargs: go to `torch.nn.functional.grid_sample`; with align_corners=False, (0, 0) is the outer corner of the
            first pixel, not its center.

    Returns:
        (N, C, P) or (N, C, Hg, Wg).
    """
    is_list_of_points = point_coords.dim() == 3
    grid = point_coords.unsqueeze(2) if is_list_of_points else point_coords
    values = F.grid_sample(input, 2.0 * grid - 1.0, **kwargs)
    return values.squeeze(3) if is_list_of_points else values


def get_uncertain_point_coords_with_randomness(
    coarse_logits: Tensor,
    uncertainty_func: Callable[[Tensor], Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
) -> Tensor:
    """Select points for the mask loss: the most uncertain ones of a random draw, and random ones.

    Args:
        coarse_logits: (N, C, H, W).
        uncertainty_func: (N, C, P) logits -> (N, 1, P), larger = less certain.
        num_points: P.
        oversample_ratio: the draw has int(P * oversample_ratio) uniform points; at least 1.
        importance_sample_ratio: fraction of P that is selected by uncertainty, in [0, 1].

    Returns:
        (N, P, 2) coordinates in [0, 1], the uncertain points first.

    Raises:
        ValueError: a ratio is out of its range.
    """
    if oversample_ratio < 1:
        raise ValueError(f"oversample_ratio is {oversample_ratio}; expected at least 1.")
    if not 0 <= importance_sample_ratio <= 1:
        raise ValueError(f"importance_sample_ratio is {importance_sample_ratio}; expected a number in [0, 1].")
    num_maps, device = coarse_logits.shape[0], coarse_logits.device
    candidates = torch.rand(num_maps, int(num_points * oversample_ratio), 2, device=device)
    # Uncertainty of the interpolated logits, not interpolated uncertainty: halfway between logits -1 and 1 lies the
    # most uncertain point of all, although both ends are equally certain.
    logits = point_sample(coarse_logits, candidates, align_corners=False)
    uncertainty = uncertainty_func(logits)[:, 0]  # (N, candidates)
    num_uncertain = int(importance_sample_ratio * num_points)
    chosen = uncertainty.topk(num_uncertain, dim=1).indices  # (N, num_uncertain)
    uncertain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    uniform = torch.rand(num_maps, num_points - num_uncertain, 2, device=device)
    return torch.cat([uncertain, uniform], dim=1)
