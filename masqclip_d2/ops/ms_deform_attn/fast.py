"""ms_deform_attn in plain PyTorch: weighted sums of table rows for inference on CPUs, `grid_sample` otherwise.

Shape shorthand: B images, S = sum of h * w over the L levels, Lq queries, N heads, d channels per head, P points, T
positions of a padded map of values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_SAMPLES_PER_PASS = 100_000  # of the CPU implementation: their indices and weights fit into a cache


def ms_deform_attn_torch(
    value: Tensor, level_hw: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """See `ms_deform_attn`. Computes in float32 at least, since positions need that precision.

    Forward and backward of `embedding_bag` take 1.3 to 2 times as long as those of `grid_sample` on a CPU, its forward
    alone 0.4 times.
    """
    inputs = (value, sampling_locations, attention_weights)
    with_gradients = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    on_cpu = value.device.type == "cpu"
    implementation = by_embedding_bag if on_cpu and not with_gradients else by_grid_sample
    dtype = torch.promote_types(value.dtype, torch.float32)
    output = implementation(
        value.to(dtype), level_hw, sampling_locations.to(dtype), attention_weights.to(dtype)
    )  # (B, Lq, N * d)
    return output.to(value.dtype)


def by_grid_sample(
    value: Tensor, level_hw: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """One `grid_sample` and one weighted sum per level; heads are folded into the batch of `grid_sample`."""
    batch, num_queries, heads, levels, points, _ = sampling_locations.shape
    # Queries come last: sums over points then run over long contiguous rows.
    grid = (2 * sampling_locations - 1).permute(3, 0, 2, 4, 1, 5)  # (L, B, N, P, Lq, 2)
    weights = attention_weights.permute(3, 0, 2, 4, 1)  # (L, B, N, P, Lq)
    grid = grid.reshape(levels, batch * heads, points, num_queries, 2)
    weights = weights.reshape(levels, batch * heads, 1, points, num_queries)
    level_values = value.split([height * width for height, width in level_hw], dim=1)
    output = value.new_zeros(())
    for level, (height, width) in enumerate(level_hw):
        feature_map = level_values[level].permute(0, 2, 3, 1).reshape(batch * heads, -1, height, width)
        sampled = F.grid_sample(feature_map, grid[level], align_corners=False)  # (B * N, d, P, Lq)
        output = output + (sampled * weights[level]).sum(2)
    return output.view(batch, heads * value.shape[-1], num_queries).transpose(1, 2)


def by_embedding_bag(
    value: Tensor, level_hw: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """One weighted sum of the 4 L P pixels around the samples of each query and head.

    `embedding_bag` reads the d channels of a pixel at once, where `grid_sample` gathers them one by one. For inference:
    with gradients, each pass has a gradient of the whole table.
    """
    batch, num_queries, heads, levels, points, _ = sampling_locations.shape
    channels = value.shape[-1]
    table, first_position = _padded_table(value, level_hw)
    layout = _SampleLayout(level_hw, first_position, table.shape[1], heads, points, value)
    locations = sampling_locations.view(batch, num_queries, heads, levels * points, 2)
    weights = attention_weights.view(batch, num_queries, heads, levels * points)
    per_query = heads * levels * points
    step = max(1, _SAMPLES_PER_PASS // per_query)
    output = []
    for rows, of_locations, of_weights in zip(table, locations, weights, strict=True):
        rows = rows.view(-1, channels)  # (T * N, d)
        for first in range(0, num_queries, step):
            some = slice(first, first + step)
            index, corner_weights = layout.corners(of_locations[some], of_weights[some])
            output.append(F.embedding_bag(index, rows, per_sample_weights=corner_weights, mode="sum"))
    if not output:
        return value.new_zeros(batch, num_queries, heads * channels)
    return torch.cat(output).view(batch, num_queries, heads * channels)


def _padded_table(value: Tensor, level_hw: Sequence[tuple[int, int]]) -> tuple[Tensor, list[int]]:
    """Zero-padded values (B, T, N, d), and the position of each level in them.

    Each level has a row of zeros above, two below and a column of zeros on the left, which is also the right border of
    the row above, so that the four pixels around every position in [-1, w] x [-1, h] are in the table.
    """
    batch, _, heads, channels = value.shape
    maps, first_position, size = [], [], 0
    for of_level, (height, width) in zip(
        value.split([height * width for height, width in level_hw], dim=1), level_hw, strict=True
    ):
        of_level = of_level.reshape(batch, height, width, heads, channels)
        maps.append(F.pad(of_level, (0, 0, 0, 0, 1, 0, 1, 2)).flatten(1, 2))
        first_position.append(size)
        size += (height + 3) * (width + 1)
    end = value.new_zeros(batch, max(width for _, width in level_hw) + 3, heads, channels)
    maps.append(end)  # a last row of zeros, since the corners of any position must be in the table
    return torch.cat(maps, dim=1), first_position


class _SampleLayout:
    """Positions of samples -> indices into a padded table, and their weights.

    Args:
        level_hw: (height, width) of each level.
        first_position, size: see `_padded_table`: the positions of the levels, and T.
        heads, points: N, P.
        like: a tensor of the dtype of locations and weights, on their device.
    """

    def __init__(
        self,
        level_hw: Sequence[tuple[int, int]],
        first_position: Sequence[int],
        size: int,
        heads: int,
        points: int,
        like: Tensor,
    ) -> None:
        def per_sample(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, device=like.device).repeat_interleave(points)  # (L * P,)

        width, height = per_sample([width for _, width in level_hw]), per_sample([height for height, _ in level_hw])
        self._width, self._height = width.to(like.dtype), height.to(like.dtype)
        self._heads = heads
        pitch = width + 1
        self._last_position = size - 2 - max(width for _, width in level_hw) - 1
        self._pitch = pitch.int()
        # The table starts at column -1 and row -1.
        self._origin = (per_sample(first_position) + 1 + pitch).int()
        right = torch.tensor([0, 1, 0, 1], device=like.device)
        below = torch.tensor([0, 0, 1, 1], device=like.device)
        self._corner = (heads * (right[:, None] + below[:, None] * pitch)).int()  # (4, L * P)
        self._head = torch.arange(heads, dtype=torch.int32, device=like.device)[:, None]

    def corners(self, locations: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The four pixels around each sample of some queries.

        Args:
            locations: (q, N, L * P, 2), (x, y) in [0, 1] over the map of the level.
            weights: (q, N, L * P).

        Returns:
            Rows of the table (T * N, d) and their weights, (q * N, 4 * L * P) int32 and float.
        """
        x = _clamped(locations[..., 0] * self._width - 0.5, self._width)
        y = _clamped(locations[..., 1] * self._height - 0.5, self._height)
        column, row = x.detach().floor(), y.detach().floor()
        position = row.int().mul_(self._pitch).add_(column.int()).add_(self._origin)
        position.clamp_(0, self._last_position)  # of a location that is not a number; its weights are none either
        index = position.mul_(self._heads).add_(self._head).unsqueeze(-2) + self._corner  # (q, N, 4, L * P)
        x, y = x - column, y - row
        below = weights * y
        above = weights - below
        above_right, below_right = above * x, below * x
        corner_weights = torch.stack(
            [above - above_right, above_right, below - below_right, below_right], dim=-2
        )  # (q, N, 4, L * P)
        samples = index.shape[-2] * index.shape[-1]
        return index.view(-1, samples), corner_weights.view(-1, samples)


def _clamped(positions: Tensor, size: Tensor) -> Tensor:
    """Positions in pixels, at most one pixel outside of the map, where values are zero."""
    return torch.minimum(positions.clamp(min=-1), size)
