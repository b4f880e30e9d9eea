"""Mask logits from the resolution of the proposer to the size of the output.

All resizes are bilinear with pixel centers at (i + 1/2) / size, edges repeated, without anti-aliasing.
`masks_to_output` returns all pixels of the masks, `rows_to_output` a band of rows.

Shape shorthand: Q mask proposals (or any number of maps), H x W pixels of the target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def resize_maps(maps: Tensor, hw: tuple[int, int]) -> Tensor:
    """Resize float maps bilinearly.

    Args:
        maps: (Q, h, w) float; Q may be 0.
        hw: (height, width) of the result in pixels.

    Returns:
        (Q, H, W) float32.

    Raises:
        ValueError: `maps` is not three-dimensional, or a size is below 1.
    """
    if maps.dim() != 3:
        raise ValueError(f"Maps to resize must have shape (Q, h, w), got {tuple(maps.shape)}.")
    if min(hw) < 1:
        raise ValueError(f"Cannot resize maps to {tuple(hw)}: height and width must be at least 1.")
    if tuple(maps.shape[-2:]) == tuple(hw):
        return maps.float()
    return F.interpolate(maps[:, None].float(), size=tuple(hw), mode="bilinear", align_corners=False)[:, 0]


def crop_and_resize(maps: Tensor, image_hw: tuple[int, int], output_hw: tuple[int, int]) -> Tensor:
    """Crop the padding and resize to the output size.

    Applied to mask logits before inference, or, if SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE is False, to the class score
    maps of `semantic_inference` at padded size (the published order when only semantic output is on).

    Args:
        maps: (Q, H_padded, W_padded) float; the image is the top left part.
        image_hw: (height, width) of the image in it, in pixels.
        output_hw: (height, width) of the result in pixels.

    Returns:
        (Q, H, W) float32.

    Raises:
        ValueError: the image is larger than the maps, or a size is below 1.
    """
    height, width = image_hw
    if height > maps.shape[-2] or width > maps.shape[-1]:
        raise ValueError(f"Cannot crop an image of {tuple(image_hw)} from maps of {tuple(maps.shape[-2:])} pixels.")
    return resize_maps(maps[..., :height, :width], output_hw)


def masks_to_output(
    mask_logits: Tensor, padded_hw: tuple[int, int], image_hw: tuple[int, int], output_hw: tuple[int, int]
) -> Tensor:
    """Bring mask logits to the output size in the two bilinear steps of the published implementations.

    Low resolution -> padded input size -> crop to the image -> output size. Resizing logits and not probabilities
    keeps the decision `logit > 0` sharp.

    Args:
        mask_logits: (Q, h, w) float, covering `padded_hw`.
        padded_hw, image_hw, output_hw: (height, width) in pixels of the padded input, of the image in its top left
            corner, and of the result.

    Returns:
        (Q, H, W) float32 logits.

    Raises:
        ValueError: see `resize_maps` and `crop_and_resize`.
    """
    return crop_and_resize(resize_maps(mask_logits, padded_hw), image_hw, output_hw)


def rows_to_output(
    mask_logits: Tensor,
    padded_hw: tuple[int, int],
    image_hw: tuple[int, int],
    output_hw: tuple[int, int],
    rows: tuple[int, int],
) -> Tensor:
    """Some rows of `masks_to_output`, up to rounding, without computing the others.

    Args:
        mask_logits, padded_hw, image_hw, output_hw: see `masks_to_output`.
        rows: (first, last + 1) of the result, 0 <= first < last + 1 <= H.

    Returns:
        (Q, last + 1 - first, W) float32 logits.
    """
    source = source_rows(image_hw[0], output_hw[0], rows)
    band = rows_of_image(mask_logits, padded_hw, image_hw, source)
    return resize_band(band, source[0], image_hw[0], output_hw, rows)


def window_to_output(
    mask_logits: Tensor,
    padded_hw: tuple[int, int],
    image_hw: tuple[int, int],
    output_hw: tuple[int, int],
    window: tuple[slice, slice],
) -> Tensor:
    """A window of `masks_to_output`, up to rounding, without computing the rest.

    Args:
        mask_logits, padded_hw, image_hw, output_hw: see `masks_to_output`.
        window: rows and columns of the result.

    Returns:
        (Q, rows, columns) float32 logits.
    """
    source = window_of_masks(mask_logits.shape[-2:], padded_hw, image_hw, output_hw, window)
    maps = mask_logits[:, source[0], source[1]].float()
    for axis in (0, 1):
        target = (window[axis].start, window[axis].stop)
        in_image = source_rows(image_hw[axis], output_hw[axis], target)
        low_size = mask_logits.shape[axis - 2]
        maps = _resize_axis(maps, axis + 1, source[axis].start, low_size, padded_hw[axis], in_image)
        maps = _resize_axis(maps, axis + 1, in_image[0], image_hw[axis], output_hw[axis], target)
    return maps


def window_of_masks(
    low_hw: Sequence[int],
    padded_hw: tuple[int, int],
    image_hw: tuple[int, int],
    output_hw: tuple[int, int],
    window: tuple[slice, slice],
) -> tuple[slice, slice]:
    """Rows and columns of mask logits of size `low_hw` from which a window of `masks_to_output` is interpolated.

    The values of the window lie between the smallest and the largest logit there.
    """
    source = []
    for axis in (0, 1):
        in_image = source_rows(image_hw[axis], output_hw[axis], (window[axis].start, window[axis].stop))
        source.append(slice(*source_rows(low_hw[axis], padded_hw[axis], in_image)))
    return source[0], source[1]


def _resize_axis(maps: Tensor, dim: int, first: int, size: int, target_size: int, target: tuple[int, int]) -> Tensor:
    """Positions `target` of maps resized along one axis from `size` to `target_size`; `maps` starts at `first`."""
    if size == target_size:
        return maps.narrow(dim, target[0] - first, target[1] - target[0])
    above, below, weight = neighbors(size, target_size, target, maps.device)
    if dim == 1:
        weight = weight[:, None]
    return torch.lerp(maps.index_select(dim, above - first), maps.index_select(dim, below - first), weight)


def rows_of_image(
    mask_logits: Tensor, padded_hw: tuple[int, int], image_hw: tuple[int, int], rows: tuple[int, int]
) -> Tensor:
    """The first step of `rows_to_output`: (Q, last + 1 - first, W of the image), rows of the input image."""
    low_height = mask_logits.shape[1]
    first, stop = source_rows(low_height, padded_hw[0], rows)
    return resize_band(mask_logits[:, first:stop], first, low_height, padded_hw, rows)[..., : image_hw[1]]


def source_rows(height: int, target_height: int, rows: tuple[int, int]) -> tuple[int, int]:
    """(first, last + 1) of the rows of an image of `height` from which `rows` of the target are interpolated."""
    if height == target_height:
        return rows
    scale = np.float32(height) / np.float32(target_height)  # rounded as in `neighbors`
    first, last = (max(np.float32(row + 0.5) * scale - np.float32(0.5), 0) for row in (rows[0], rows[1] - 1))
    return min(int(first), height - 1), min(int(last) + 1, height - 1) + 1


def resize_band(band: Tensor, first_row: int, height: int, hw: tuple[int, int], rows: tuple[int, int]) -> Tensor:
    """Some rows of `resize_maps(maps, hw)`, up to rounding, from the rows of the maps that they depend on.

    Args:
        band: (Q, n, w) float, rows of the maps from `first_row`; at least `source_rows(height, H, rows)`.
        first_row: index of the first row of the band in the maps.
        height: rows of the maps.
        hw: (H, W) of the resized maps.
        rows: (first, last + 1) of the result's rows, in [0, H].

    Returns:
        (Q, last + 1 - first, W) float32.
    """
    return _resize_axis(resize_maps(band, (band.shape[1], hw[1])), 1, first_row, height, hw[0], rows)


def neighbors(
    height: int, target_height: int, rows: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """For each target row: the source rows above and below its center, and the weight of the one below.

    Computed on `device`: copies from the CPU would wait for all earlier work of a GPU.
    """
    scale = torch.tensor(height, dtype=torch.float32) / target_height  # in float32, to round as `interpolate` does
    centers = torch.arange(*rows, dtype=torch.float32, device=device) + 0.5
    position = (centers * scale - 0.5).clamp(min=0)
    above = position.long().clamp(max=height - 1)
    below = (above + 1).clamp(max=height - 1)
    return above, below, position - above
