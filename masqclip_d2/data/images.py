"""Image files of any kind as RGB bytes: grayscale, 16-bit, palette, transparent, CMYK, rotated by EXIF."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# PIL's errors on damaged files; its readers do not catch the errors of their parsers.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, RuntimeError, MemoryError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip
_MODES_16_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_MODES_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")

_MAX_MEGAPIXELS = 178  # Pillow's own limit
_PILLOW_LIMIT = threading.Lock()  # it is a variable of its module

FAST_PNG = 1
"""Level of PNG's compression; photographs are written 3 times faster than by Pillow's default, and are 15 % larger."""


def read_image(path: str | os.PathLike, max_megapixels: float = _MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Read an image file.

    Grayscale becomes three equal channels. 16 bits per pixel are divided by 257, so that 0..65535 becomes 0..255
    (rounded). Transparent pixels are blended with white, as in image viewers. The EXIF orientation is applied; a
    damaged EXIF block is ignored. Only the first frame of an animation is read.

    Args:
        path: a file in any format that Pillow reads.
        max_megapixels: limit of its size, before the pixels are decoded.

    Returns:
        (H, W, 3) uint8 RGB, writable and contiguous.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, truncated, too large, no image, or its pixel format has no known range (32-bit
            float).
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Image {path} does not exist.")
    if path.is_dir():
        raise ValueError(f"Image {path} is a folder.")
    if path.stat().st_size == 0:
        raise ValueError(f"Image {path} is empty (0 bytes).")
    try:
        with _opened(path) as image:
            _check_size(image, max_megapixels)
            image.load()
            return _rgb(_upright(image))
    except UnidentifiedImageError:
        raise ValueError(f"Image {path} is damaged, or in a format that Pillow does not support.") from None
    except _DAMAGED as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ValueError(f"Image {path} cannot be read: {reason}.") from error


def image_pixels(
    image: str | os.PathLike | Image.Image | NDArray[np.uint8], max_megapixels: float = _MAX_MEGAPIXELS
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
        return _rgb(_upright(image))
    if not isinstance(image, np.ndarray):
        raise ValueError(f"Expected an image file, a PIL image or an array, got a {type(image).__name__}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"Expected an image array (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}.")
    return image


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image of a file without Pillow's check of its size; only the header is read."""
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def _check_size(image: Image.Image, max_megapixels: float) -> None:
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise ValueError(
            f"it has {megapixels:.0f} megapixels ({image.width} x {image.height}), more than the limit of "
            f"{max_megapixels:g}; shrink it, or raise the limit (demo and Predictor: INPUT.MAX_MEGAPIXELS)"
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED:  # only the EXIF block is damaged
        return image


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
