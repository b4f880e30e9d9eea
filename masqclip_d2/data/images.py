"""Image files of any kind as RGB bytes: grayscale, 16-bit, palette, transparent, CMYK, rotated by EXIF."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..image_files import MAX_MEGAPIXELS, named_errors, opened_image, stored_turned, turned_upright, upright_pixels

_MODES_16_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_MODES_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def read_image(path: str | os.PathLike, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Read an image file.

    Grayscale becomes three equal channels. 16 bits per pixel are divided by 257, so that 0..65535 becomes 0..255
    (rounded). Transparent pixels are blended with white, as in image viewers. The EXIF orientation is applied; a
    damaged EXIF block is ignored. Only the first frame of an animation is read.

    Args:
        path: a file in any format that Pillow reads.
        max_megapixels: limit of its size, before the pixels are decoded; see `opened_image`.

    Returns:
        (H, W, 3) uint8 RGB, writable and contiguous.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, truncated, too large, no image, or its pixel format has no known range (32-bit
            float).
    """
    with opened_image(path, max_megapixels=max_megapixels) as image:
        upright = upright_pixels(image)
        with named_errors("Image", path):
            return _rgb(upright)


def require_recorded_size(record: Mapping[str, Any], image_hw: tuple[int, int]) -> None:
    """Raise ValueError if a record has another `height` or `width` than its image, which is used upright."""
    height, width = image_hw
    recorded = record.get("height", height), record.get("width", width)
    if recorded == (height, width):
        return
    path = record.get("file_name", "the image")
    advice = "annotations of another version of the image do not fit it; take the image that was annotated"
    if recorded == (width, height) and stored_turned(path):
        advice = (
            "it is used upright, as its EXIF orientation says; turn the annotations and their sizes as well, or remove "
            "the orientation from the image"
        )
    raise ValueError(
        f"Image {path} is {width}x{height}, but {recorded[1]}x{recorded[0]} in its record (width x height); {advice}."
    )


def image_pixels(
    image: str | os.PathLike | Image.Image | NDArray[np.uint8], max_megapixels: float = MAX_MEGAPIXELS
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an image file, a PIL image, or such an array, which is not copied.

    Args:
        image: see above.
        max_megapixels: limit for files.

    Raises:
        FileNotFoundError, ValueError: see `read_image`; an array of another shape or dtype, or another type.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image, max_megapixels)
    if isinstance(image, Image.Image):
        return _rgb(turned_upright(image))
    if not isinstance(image, np.ndarray):
        raise ValueError(f"Expected an image file, a PIL image or an array, got a {type(image).__name__}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"Expected an image array (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}.")
    return image


def channels_first(image: np.ndarray) -> Tensor:
    """(H, W, 3) array -> (3, H, W) tensor, a copy."""
    # Unlike numpy.ascontiguousarray, which keeps the negative strides of a mirrored row or column of one pixel.
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _MODES_16_BIT:
        wide = np.asarray(image).astype(np.int64)
        gray = ((np.clip(wide, 0, 65535) + 128) // 257).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats without a known range; save it with 8 or 16 bits")
    if image.mode in _MODES_WITH_ALPHA or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))
