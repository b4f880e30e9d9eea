"""ms_deform_attn in plain PyTorch: one `grid_sample` and one weighted sum per level.

Shape shorthand: B images, Lq queries, N heads, L levels, d channels per head, P points.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def ms_deform_attn_torch(
    value: Tensor, level_hw: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """See `ms_deform_attn`; heads are folded into the batch of `grid_sample`."""
    batch, num_queries, heads, levels, points, _ = sampling_locations.shape
    # Queries come last: sums over points then run over long contiguous rows.
    grid = (2 * sampling_locations - 1).permute(3, 0, 2, 4, 1, 5).to(value.dtype)  # (L, B, N, P, Lq, 2)
    weights = attention_weights.permute(3, 0, 2, 4, 1).to(value.dtype)  # (L, B, N, P, Lq)
    grid = grid.reshape(levels, batch * heads, points, num_queries, 2)
    weights = weights.reshape(levels, batch * heads, 1, points, num_queries)
    level_values = value.split([height * width for height, width in level_hw], dim=1)
    output = value.new_zeros(())
    for level, (height, width) in enumerate(level_hw):
        feature_map = level_values[level].permute(0, 2, 3, 1).reshape(batch * heads, -1, height, width)
        sampled = F.grid_sample(feature_map, grid[level], align_corners=False)  # (B * N, d, P, Lq)
        output = output + (sampled * weights[level]).sum(2)
    return output.view(batch, heads * value.shape[-1], num_queries).transpose(1, 2)
