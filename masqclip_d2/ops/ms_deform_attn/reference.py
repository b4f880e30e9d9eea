"""Reference of ms_deform_attn: the formula, and the only definition of correct."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def ms_deform_attn_reference(
    value: Tensor, level_hw: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """out[b, q, n] = sum over l, p of weight[b, q, n, l, p] * value of level l at (x, y)[b, q, n, l, p].

    See `ms_deform_attn`. Slow: loops over images, heads, levels and points.
    """
    batch, num_queries, heads, _, points, _ = sampling_locations.shape
    output = value.new_zeros(batch, num_queries, heads, value.shape[-1])
    level_values = value.split([height * width for height, width in level_hw], dim=1)
    for level, (height, width) in enumerate(level_hw):
        for b in range(batch):
            for n in range(heads):
                feature_map = level_values[level][b, :, n].unflatten(0, (height, width))  # (h, w, d)
                for p in range(points):
                    x, y = sampling_locations[b, :, n, level, p].unbind(-1)  # (Lq,) each
                    sampled = _bilinear(feature_map, x * width - 0.5, y * height - 0.5)
                    output[b, :, n] += attention_weights[b, :, n, level, p, None] * sampled
    return output.flatten(2)


def _bilinear(feature_map: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Blend the four pixels around each position, zero outside the map: (h, w, d), (Lq,), (Lq,) -> (Lq, d)."""
    height, width, _ = feature_map.shape
    left, top = column.floor(), row.floor()
    result = 0
    for j, i in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        weight = (1 - (column - j).abs()) * (1 - (row - i).abs())
        inside = (j >= 0) & (j < width) & (i >= 0) & (i < height)
        pixel = feature_map[i.clamp(0, height - 1).long(), j.clamp(0, width - 1).long()]
        result = result + torch.where(inside, weight, 0.0)[:, None] * pixel
    return result
