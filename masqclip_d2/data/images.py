"""Image files of any kind as RGB bytes: grayscale, 16-bit, palette, transparent, CMYK, rotated by EXIF."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..image_files import (
    BYTES,
    MAX_MEGAPIXELS,
    named_errors,
    opened_image,
    stored_turned,
    turned_upright,
    upright_pixels,
)

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


def image_pixels(image: Any, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an image of any of these types; such an array is not copied.

    Args:
        image: one of
            - the path of a file, or the content of a file as bytes,
            - a PIL image,
            - a NumPy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16 or bool,
            - a tensor (H, W), (1, H, W), (3, H, W) or (4, H, W) of uint8, uint16 or bool, or of floats in [0, 1].
            Gray, 16-bit and transparent images become RGB as in `read_image`.
        max_megapixels: limit for files.

    Raises:
        FileNotFoundError, ValueError: see `read_image`; another shape, dtype or type.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image, max_megapixels)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decoded(bytes(image), max_megapixels)
    if isinstance(image, Image.Image):
        return _rgb(turned_upright(image))
    if isinstance(image, torch.Tensor):
        return _of_array(_channels_last(image), f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}")
    if isinstance(image, np.ndarray):
        return _of_array(image, f"{image.dtype} {image.shape}")
    hint = "; pass a list of images to get a list of results" if isinstance(image, (tuple, set)) else ""
    raise ValueError(
        f"Expected an image file, its bytes, a PIL image, an array or a tensor, got a {type(image).__name__}{hint}."
    )


def _decoded(content: bytes, max_megapixels: float) -> NDArray[np.uint8]:
    with opened_image(io.BytesIO(content), max_megapixels=max_megapixels) as image:
        upright = upright_pixels(image)
        with named_errors("Image", BYTES):
            return _rgb(upright)


def _channels_last(image: torch.Tensor) -> NDArray:
    pixels = image.detach().cpu()
    if pixels.is_floating_point():
        low, high = (pixels.min().item(), pixels.max().item()) if pixels.numel() else (0.0, 0.0)
        if not (low >= 0 and high <= 1):  # NaN too
            raise ValueError(
                f"The image tensor holds values from {low:g} to {high:g}; expected floats in [0, 1], or uint8."
            )
        pixels = (pixels.float() * 255).round().to(torch.uint8)
    array = pixels.numpy()
    return array.transpose(1, 2, 0) if array.ndim == 3 else array


def _of_array(array: NDArray, given: str) -> NDArray[np.uint8]:
    """Pixels of an array (H, W) or (H, W, C)."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not fits or array.dtype not in (np.uint8, np.uint16, np.bool_) or array.size == 0:
        raise ValueError(
            "Expected an image array (H, W, 3), (H, W, 4) or (H, W), or a tensor (3, H, W), of uint8 or uint16 "
            f"(tensors also floats in [0, 1]), got {given}."
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        array = _of_16_bits(array)
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    return array if array.shape[2] == 3 else _rgb(Image.fromarray(np.ascontiguousarray(array), "RGBA"))


def _of_16_bits(wide: NDArray) -> NDArray[np.uint8]:
    """0..65535 -> 0..255, rounded; larger and smaller values are clipped."""
    return ((np.clip(wide.astype(np.int64), 0, 65535) + 128) // 257).astype(np.uint8)


def channels_first(image: np.ndarray) -> Tensor:
    """(H, W, 3) array -> (3, H, W) tensor, a copy."""
    # Unlike numpy.ascontiguousarray, which keeps the negative strides of a mirrored row or column of one pixel.
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _MODES_16_BIT:
        return np.repeat(_of_16_bits(np.asarray(image))[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats without a known range; save it with 8 or 16 bits")
    if image.mode in _MODES_WITH_ALPHA or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))
