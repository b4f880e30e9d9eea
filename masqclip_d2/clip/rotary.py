"""Rotary positions of the patches of an image, as in EVA-02 (Fang et al., 2023; Su et al., RoFormer, 2021).

Each pair of channels of a query or key is rotated by an angle: the first half of the channels by the row of the patch,
the second half by its column. The class token is not rotated.

Shape shorthand: B images, P = h * w patches, L tokens, N heads, d = channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BASE = 10_000.0  # of the frequencies, from 1 down to almost 1 / base
_REFERENCE_GRID = 16  # patches per side in the first training; larger grids are interpolated into it


class RotaryPositions:
    """Rotates the queries or keys of the patches of one grid; shared by all blocks of a tower.

    Not a module: its tables follow from the sizes, are computed at first use and belong to no checkpoint.

    Args:
        grid: patches per side, h = w.
        head_width: d, a multiple of 4.

    Raises:
        ValueError: `head_width` is not a multiple of 4.
    """

    def __init__(self, grid: int, head_width: int) -> None:
        if head_width % 4:
            raise ValueError(f"Rotary positions need heads of a multiple of 4 channels, got {head_width}.")
        self.grid = grid
        self.head_width = head_width
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def rotate(self, heads: Tensor) -> Tensor:
        """Rotate (B, N, 1 + P, d); the class token at index 0 is unchanged. Angles and products are in float32."""
        cos, sin = self._table(heads.device)
        patches = heads[:, :, 1:].to(torch.promote_types(heads.dtype, torch.float32))
        even, odd = patches.unflatten(-1, (-1, 2)).unbind(-1)  # (B, N, P, d / 2)
        rotated = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)
        return torch.cat([heads[:, :, :1], rotated.to(heads.dtype)], dim=2)

    def _table(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosine and sine, (P, d / 2) each."""
        if device not in self._tables:
            with torch.inference_mode(False), torch.no_grad():
                angles = self._angles(device)
                self._tables[device] = (angles.cos(), angles.sin())
        return self._tables[device]

    def _angles(self, device: torch.device) -> Tensor:
        per_axis = self.head_width // 4
        exponents = torch.arange(per_axis, device=device, dtype=torch.float32) / per_axis
        places = torch.arange(self.grid, device=device, dtype=torch.float32) / self.grid * _REFERENCE_GRID
        axis = places[:, None] * _BASE**-exponents  # (h, d / 4)
        rows = axis[:, None].expand(-1, self.grid, -1)
        columns = axis[None].expand(self.grid, -1, -1)
        return torch.cat([rows, columns], dim=-1).flatten(0, 1)  # (P, d / 2)
