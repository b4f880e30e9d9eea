"""OutputMasks: masks of one image at output size, made a band of rows or a tile at a time.

All masks of a photograph of 12 megapixels at once take 5 GB in float32; a band takes 16 MB. Of a tile, only the masks
that matter there are made.

Shape shorthand: Q mask proposals, h x w the resolution of the mask logits, H x W pixels of the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..transfers import is_asynchronous
from .resize import masks_to_output, rows_to_output, window_of_masks, window_to_output

TILE_SIZE = 4_000_000
"""Elements of a band, 16 MB in float32: little next to the mask logits."""
_GPU_TILE_SIZE = 64_000_000  # 256 MB: of a GPU, where each band takes some tens of launches
_TILE_SIDE = 128  # pixels of the output

Wanted = Callable[[Tensor, Tensor], Tensor]
"""Smallest and largest logit (Q,) of each mask in a tile -> (Q,) bool, which masks are needed there."""


@dataclass(frozen=True)
class OutputMasks:
    """Mask logits at any resolution, and the size of the output they are for.

    Args:
        mask_logits: (Q, h, w) float, covering `padded_hw`.
        padded_hw, image_hw, output_hw: (height, width) in pixels of the padded input, of the image in its top left
            corner, and of the output.
        tile_size: elements of a band.

    Raises:
        ValueError: `mask_logits` is not three-dimensional.
    """

    mask_logits: Tensor
    padded_hw: tuple[int, int]
    image_hw: tuple[int, int]
    output_hw: tuple[int, int]
    tile_size: int = TILE_SIZE

    def __post_init__(self) -> None:
        if self.mask_logits.dim() != 3:
            raise ValueError(f"mask_logits must have shape (Q, h, w), got {tuple(self.mask_logits.shape)}.")

    @classmethod
    def of(cls, masks: Tensor | OutputMasks) -> OutputMasks:
        """Masks (Q, H, W) that have output size already; `OutputMasks` are returned as they are."""
        if isinstance(masks, OutputMasks):
            return masks
        hw = (masks.shape[-2], masks.shape[-1])
        return cls(masks, hw, hw, hw)

    def __len__(self) -> int:
        return len(self.mask_logits)

    @property
    def device(self) -> torch.device:
        return self.mask_logits.device

    def select(self, index: Tensor) -> OutputMasks:
        """Some of the masks, by index or by a bool tensor (Q,)."""
        return replace(self, mask_logits=self.mask_logits[index])

    def bands(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows of the output, top to bottom, and the masks in them: (Q, rows, W) float32 logits.

        If all fits into one band the masks are those of `masks_to_output`, otherwise equal up to rounding.
        """
        height, width = self.output_hw
        sizes = (self.padded_hw, self.image_hw, self.output_hw)
        whole = None
        if self._fits_into_a_band or self.mask_logits.shape[-2:] == self.padded_hw == self.output_hw:
            whole = masks_to_output(self.mask_logits, *sizes)
            elements_per_row = len(self) * width
        else:
            rows_in_row = math.ceil(self.image_hw[0] / height)
            elements_per_row = len(self) * rows_in_row * max(self.image_hw[1], width)
        step = max(1, self.band_size // max(1, elements_per_row))
        for first in range(0, height, step):
            rows = slice(first, min(first + step, height))
            if whole is None:
                yield rows, rows_to_output(self.mask_logits, *sizes, (rows.start, rows.stop))
            else:
                yield rows, whole[:, rows]

    @property
    def _fits_into_a_band(self) -> bool:
        largest = max(height * width for height, width in (self.output_hw, self.padded_hw))
        return len(self) * largest <= self.band_size

    @property
    def band_size(self) -> int:
        """Elements of a band on the device of the masks."""
        return max(self.tile_size, _GPU_TILE_SIZE) if is_asynchronous(self.device) else self.tile_size

    def tiles(self, wanted: Wanted) -> Iterator[tuple[tuple[slice, slice], Tensor, Tensor]]:
        """Tiles of the output, row by row, each with the masks that are wanted in it.

        On CPUs, where most of the time goes into resizing masks that are far away; elsewhere, and where all masks fit
        into one band, tiles are bands of all masks.

        Args:
            wanted: gets the bounds of the logits in the tile; resized masks lie between them.

        Returns:
            For each tile rows and columns, (Q',) int64 index of its masks, and (Q', rows, columns) float32 logits.
        """
        height, width = self.output_hw
        if is_asynchronous(self.device) or self._fits_into_a_band:
            everything = torch.arange(len(self), device=self.device)
            for rows, logits in self.bands():
                yield (rows, slice(0, width)), everything, logits
            return
        sizes = (self.padded_hw, self.image_hw, self.output_hw)
        for top in range(0, height, _TILE_SIDE):
            for left in range(0, width, _TILE_SIDE):
                window = (slice(top, min(top + _TILE_SIDE, height)), slice(left, min(left + _TILE_SIDE, width)))
                source = window_of_masks(self.mask_logits.shape[-2:], *sizes, window)
                low, high = self.mask_logits[:, source[0], source[1]].flatten(1).float().aminmax(dim=1)
                index = wanted(low, high).nonzero().flatten()
                yield window, index, window_to_output(self.mask_logits[index], *sizes, window)
