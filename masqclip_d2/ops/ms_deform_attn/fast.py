"""Multi-scale deformable attention in plain PyTorch: one `grid_sample` per level, then one weighted sum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def ms_deform_attn_torch(
    value: Tensor, level_hw: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Fast form of `ms_deform_attn_reference` on any device; heads are folded into the batch of `grid_sample`."""
    batch, num_queries, heads, levels, points, _ = sampling_locations.shape
    grid = (2 * sampling_locations - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (L, B * N, Lq, P, 2)
    level_values = value.split([height * width for height, width in level_hw], dim=1)
    sampled = []
    for level, (height, width) in enumerate(level_hw):
        feature_map = level_values[level].permute(0, 2, 3, 1).reshape(batch * heads, -1, height, width)
        sampled.append(F.grid_sample(feature_map, grid[level].to(value.dtype), align_corners=False))
    sampled = torch.cat(sampled, dim=-1)  # (B * N, d, Lq, L * P)
    weights = attention_weights.transpose(1, 2).reshape(batch * heads, 1, num_queries, levels * points)
    output = (sampled * weights.to(value.dtype)).sum(-1)  # (B * N, d, Lq)
    return output.view(batch, -1, num_queries).transpose(1, 2)
