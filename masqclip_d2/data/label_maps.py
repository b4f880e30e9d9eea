"""Label images: semantic maps of one channel (8 or 16 bits), and panoptic PNGs with segment ids as colors.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

IGNORE_LABEL = 255
"""Label of pixels without a category, in label maps with fewer than 256 categories."""

_ONE_CHANNEL = ("L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")  # labels are the indices of a palette, not its colors
_COLORS = ("RGB", "RGBA", "P")


def read_label_map(path: str | Path, what: str = "Semantic ground truth") -> NDArray[np.int64]:
    """(H, W) int64 labels of an 8 or 16-bit single-channel image (a palette's indices, not its colors).

    Args:
        path: the image file.
        what: its kind, for error messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no single-channel image.
    """
    labels = _pixels(path, what, _ONE_CHANNEL, "one channel of category ids per pixel (mode L, P or I;16)")
    return labels.astype(np.int64)  # before any arithmetic: 8 and 16 bits would wrap around


def read_panoptic_png(path: str | Path) -> NDArray[np.int64]:
    """(H, W) int64 segment ids of a COCO panoptic PNG.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no color image.
    """
    return rgb2id(_pixels(path, "Panoptic PNG", _COLORS, "colors (mode RGB), segment id = R + 256 G + 65536 B"))


def read_colors(path: str | Path, what: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of an image with labels in its channels; errors as in `read_panoptic_png`, prefixed by `what`."""
    return _pixels(path, what, _COLORS, "three channels (mode RGB)")


def rgb2id(rgb: np.ndarray) -> NDArray[np.int64]:
    """Segment ids of a COCO panoptic PNG: (..., 3) uint8 RGB -> (...) int64, id = R + 256 G + 65536 B."""
    rgb = np.asarray(rgb)
    ids = rgb[..., 2].astype(np.int64)  # before the arithmetic: uint8 would wrap around
    for channel in (1, 0):  # in place: three int64 channels of a whole image would take longer than decoding the PNG
        ids *= 256
        ids += rgb[..., channel]
    return ids


def id2rgb(ids: np.ndarray) -> NDArray[np.uint8]:
    """Inverse of `rgb2id`: (...) integers in [0, 256^3) -> (..., 3) uint8."""
    ids = np.asarray(ids).astype(np.int64)
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def image_size(path: str | Path) -> tuple[int, int]:
    """(width, height) from the header of an image file; errors as in `read_label_map`."""
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise FileNotFoundError(f"Image {path} is missing.") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"Image {path} cannot be read ({error}); download it again.") from error


def _pixels(path: str | Path, what: str, modes: Sequence[str], expected: str) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in modes:
                raise ValueError(f"{what} {path} has mode {image.mode}; expected {expected}.")
            return np.asarray(image.convert("RGB") if modes is _COLORS and image.mode != "RGB" else image)
    except FileNotFoundError:
        raise FileNotFoundError(f"{what} {path} is missing.") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{what} {path} cannot be read ({error}); write it again.") from error
