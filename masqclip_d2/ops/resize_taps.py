"""The two resizes of masks to the output, the crop between them and a flip, as one table per axis.

A position of the output is a weighted sum of a few positions of the masks, its taps; those of a pixel are the products
of the taps of its row and of its column. Kernels read masks at their own resolution through these tables.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .resize import neighbors

_MOST_LOGITS = 2**31 - 1  # of all masks together: kernels address them by 32 bits
_CACHED_TABLES = 256  # two per combination of sizes, each of some tens of kilobytes


class Taps(NamedTuple):
    """Positions (T, size) int32 of the masks along one axis for each position of the output, and float32 weights."""

    positions: Tensor
    weights: Tensor


def masks_problem(mask_logits: Tensor, most: int) -> str:
    """Why kernels cannot read these masks (Q, h, w) through taps, a clause; "" if they can.

    Args:
        mask_logits: of any shape.
        most: masks that the kernel can compute.
    """
    number = mask_logits.shape[0]  # not its `len`, which a graph for any number of masks would take for a constant
    if number > most:
        return f"its kernel computes at most {most} masks, not {number}"
    if mask_logits.numel() > _MOST_LOGITS:
        return f"its kernel reads at most {_MOST_LOGITS} mask logits, not {mask_logits.numel()}"
    return ""


def axis_taps(
    mask_logits: Tensor,
    padded_hw: Sequence[int],
    image_hw: Sequence[int],
    output_hw: Sequence[int],
    flipped: bool = False,
) -> tuple[Taps, Taps]:
    """Taps of the rows and of the columns of the output.

    Args:
        mask_logits: (Q, h, w), covering `padded_hw`.
        padded_hw, image_hw, output_hw: see `masks_to_output`.
        flipped: the masks show the image flipped left to right.
    """
    rows, columns = zip(mask_logits.shape[1:], padded_hw, image_hw, output_hw, strict=True)
    device = mask_logits.device
    return resize_taps(*rows, flipped=False, device=device), resize_taps(*columns, flipped=flipped, device=device)


def resize_taps(
    low_size: int, padded_size: int, image_size: int, output_size: int, flipped: bool, device: torch.device
) -> Taps:
    """Taps along one axis of `masks_to_output`, in which positions are reversed if `flipped`.

    Computed on `device`, without waiting for it, and kept for further images of these sizes.

    Args:
        low_size, padded_size, image_size, output_size: height or width of the masks, of the padded input, of the image
            in it, and of the output.
        flipped: the masks show the mirror image.
        device: of the tables.

    Returns:
        T taps of each position, at most 4; some may have weight 0.
    """
    key = (low_size, padded_size, image_size, output_size, flipped, device)
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return _compute(*key)  # memory of a CUDA graph, filled when the graph runs: nothing to keep
    return _cached(*key)


def _compute(
    low_size: int, padded_size: int, image_size: int, output_size: int, flipped: bool, device: torch.device
) -> Taps:
    index, weight = _linear_taps(image_size, output_size, device)  # (1 or 2, output_size)
    low_index, low_weight = _linear_taps(low_size, padded_size, device)  # (1 or 2, padded_size)
    weight = (low_weight[:, index] * weight).flatten(0, 1)
    index = low_index[:, index].flatten(0, 1)
    if len(index) == 4 and padded_size >= 2 * low_size:
        # Neighbors in the padded input are less than one position of the masks apart, also after rounding.
        index, weight = _merged(index, weight, 3)
    if flipped:
        index, weight = index.flip(-1), weight.flip(-1)
    return Taps(index.clamp(max=low_size - 1).int().contiguous(), weight.contiguous())


_cached = functools.lru_cache(maxsize=_CACHED_TABLES)(_compute)


def _linear_taps(size: int, target_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Taps (T, target_size) of one resize: int64 positions and float32 weights; one tap if the size stays the same."""
    if size == target_size:
        positions = torch.arange(size, device=device)[None]
        return positions, torch.ones(1, size, device=device)
    before, after, weight = neighbors(size, target_size, (0, target_size), device)
    return torch.stack([before, after]), torch.stack([1 - weight, weight])


def _merged(index: Tensor, weight: Tensor, num_taps: int) -> tuple[Tensor, Tensor]:
    """Taps at `num_taps` successive positions from the first tap, with the weights of equal positions added."""
    positions = index[0] + torch.arange(num_taps, device=index.device)[:, None]  # (num_taps, size)
    return positions, ((positions[:, None] == index) * weight).sum(1)
