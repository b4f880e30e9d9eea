"""Sine position encoding of the pixel decoder and the mask decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TEMPERATURE = 10000.0  # longest wavelength is 2 pi times this; as in "Attention Is All You Need", Sec. 3.5


def sine_position_map(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Encode the position of each pixel as sines and cosines: rows in the first half of the channels, then columns.

    With e = 2 pi (index + 1) / (size + 1e-6), channel j of the N = channels / 2 of an axis is sin(e / T_j) for even j
    and cos(e / T_j) for odd j, T_j = 10000 ** (2 floor(j / 2) / N).

    Returns:
        (channels, height, width) float32 in [-1, 1].

    Raises:
        ValueError: `channels` is odd.
    """
    if channels % 2:
        raise ValueError(f"A sine position map needs an even number of channels, got {channels}.")
    per_axis = channels // 2
    j = torch.arange(per_axis, device=device)
    periods = _TEMPERATURE ** (2 * j.div(2, rounding_mode="floor") / per_axis)
    row = _axis_encoding(height, periods)[:, :, None].expand(-1, -1, width)
    column = _axis_encoding(width, periods)[:, None, :].expand(-1, height, -1)
    return torch.cat([row, column])


def _axis_encoding(size: int, periods: Tensor) -> Tensor:
    """(N, size) channels of one axis."""
    e = 2 * math.pi * torch.arange(1, size + 1, device=periods.device, dtype=torch.float32) / (size + 1e-6)
    angle = e / periods[:, None]
    even = (torch.arange(len(periods), device=periods.device) % 2 == 0)[:, None]
    return torch.where(even, angle.sin(), angle.cos())
