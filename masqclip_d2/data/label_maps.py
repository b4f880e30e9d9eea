"""Label images: semantic maps of one channel (8 or 16 bits), and panoptic PNGs with segment ids as colors.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..image_files import MAX_MEGAPIXELS, image_size, named_errors, opened_image, stored_turned, upright_pixels

IGNORE_LABEL = 255
"""Label of pixels without a category, in label maps with fewer than 256 categories."""

_ONE_CHANNEL = ("L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")  # labels are the indices of a palette, not its colors
_COLORS = ("RGB", "RGBA", "P")
_LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000", "AVIF", "HEIF")  # of Pillow
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_LOSSY_WEBP = b"VP8 "  # type of the first chunk, at byte 12; lossless files have VP8L
_WHOLE_RANGES = (255, 65535)  # maxima of PGM files
_COUNTED_LABELS = 1 << 17  # labels below are counted in a table instead of sorted


@dataclass(frozen=True)
class LabelledImage:
    """The image that labels belong to, after EXIF orientation: its (height, width), and its name for messages."""

    hw: tuple[int, int]
    file_name: str = ""

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> LabelledImage | None:
        """Size and name as a record or a model's input has them; None if it has no size."""
        if "height" not in record or "width" not in record:
            return None
        return cls((record["height"], record["width"]), str(record.get("file_name", "")))

    @classmethod
    def of_file(cls, path: str | os.PathLike) -> LabelledImage:
        """An image file; see `image_files.image_size`."""
        width, height = image_size(path)
        return cls((height, width), str(path))


def read_label_map(
    path: str | os.PathLike, what: str = "Semantic labels", image: LabelledImage | None = None
) -> NDArray[np.int64]:
    """(H, W) int64 labels of an 8 or 16-bit single-channel image (a palette's indices, not its colors).

    An EXIF orientation is applied, as to images.

    Args:
        path: the image file.
        what: its kind, for error messages.
        image: that they belong to; labels of another size are refused before they are decoded. None: any size up to
            the limit of images.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no single-channel image, of another size, or stored in a format that changes values.
    """
    expected = (
        "one channel of category ids per pixel (mode L, P or I;16); write the ids, for colors by a lookup table, as PNG"
    )
    return _pixels(path, what, _ONE_CHANNEL, expected, image).astype(np.int64)  # 8 and 16 bits would wrap around


def read_semantic_labels(
    path: str | os.PathLike, num_categories: int, ignore_label: int, image: LabelledImage | None = None
) -> NDArray[np.int64]:
    """(H, W) int64 categories 0..K-1, or `ignore_label`, of a label map: the ground truth of training and evaluation.

    Args:
        path, image: see `read_label_map`.
        num_categories: K.
        ignore_label: label of pixels without a category.

    Raises:
        FileNotFoundError, ValueError: see `read_label_map`; or a label is out of range.
    """
    labels = read_label_map(path, image=image)
    wrong = [label for label in present_labels(labels) if label != ignore_label and not 0 <= label < num_categories]
    if wrong:
        listed = ", ".join(map(str, wrong[:3])) + (f", ... ({len(wrong)} in all)" if len(wrong) > 3 else "")
        masks = "; masks of 0 and 255 need 1 in place of 255" if wrong == [255] and num_categories == 2 else ""
        raise ValueError(
            f"{path} holds the label {listed}, but labels are 0..{num_categories - 1}, and {ignore_label} without a "
            f"category; translate the labels by a lookup table{masks}."
        )
    return labels


def present_labels(labels: NDArray[np.int64]) -> list[int]:
    """The values in a map, ascending; `numpy.unique` sorts all pixels, which takes longer than decoding them."""
    flat = labels.ravel()
    if flat.size and flat.min() >= 0 and flat.max() < _COUNTED_LABELS:
        return np.flatnonzero(np.bincount(flat)).tolist()
    return np.unique(flat).tolist()


def read_panoptic_png(
    path: str | os.PathLike, what: str = "Panoptic PNG", image: LabelledImage | None = None
) -> NDArray[np.int64]:
    """(H, W) int64 segment ids of a COCO panoptic PNG: its colors, without alpha; `image` as in `read_label_map`.

    Ground truth is read by `panoptic_labels.read_panoptic_labels`, which compares it with its segments.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no color image, damaged, of another size, or stored in a format that changes values.
    """
    expected = "colors (mode RGB), segment id = R + 256 G + 65536 B; write its ids again with panopticapi's id2rgb"
    return rgb2id(_pixels(path, what, _COLORS, expected, image))


def read_colors(path: str | os.PathLike, what: str, image: LabelledImage | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of an image with labels in its channels; errors as in `read_panoptic_png`, prefixed by `what`."""
    return _pixels(path, what, _COLORS, "three channels (mode RGB)", image)


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
    four_bytes = np.asarray(ids).astype("<u4")[..., None].view(np.uint8)
    return np.ascontiguousarray(four_bytes[..., :3])


def require_same_size(labels_hw: tuple[int, ...], name: str, image: LabelledImage) -> None:
    """Raise ValueError if labels do not have the size of their image; `name` begins the message."""
    height, width = image.hw
    if tuple(labels_hw) == (height, width):
        return
    advice = "make labels of the image as it is on disk"
    if tuple(labels_hw) == (width, height):
        advice = "turn the labels by 90 degrees"
        if image.file_name and stored_turned(image.file_name):
            advice = (
                f"the image is stored as {height}x{width} and turned by its EXIF orientation: turn the labels as well, "
                "or remove the orientation from the image"
            )
    raise ValueError(
        f"{name} are {labels_hw[1]}x{labels_hw[0]} pixels, but their image {image.file_name} is {width}x{height} "
        f"(width x height); {advice}."
    )


def _pixels(
    path: str | os.PathLike, what: str, modes: Sequence[str], expected: str, image: LabelledImage | None = None
) -> np.ndarray:
    # Labels of the right size are as large as an image that was accepted.
    with opened_image(path, what, MAX_MEGAPIXELS if image is None else float("inf")) as stored:
        if image is not None and stored.width * stored.height != image.hw[0] * image.hw[1]:
            require_same_size((stored.height, stored.width), f"{what} {path}", image)
        _refuse_lossy(stored, what, path)
        if stored.mode not in modes:
            raise ValueError(f"{what} {path} has mode {stored.mode}; expected {expected}.")
        _refuse_stretched(stored, what, path)
        upright = upright_pixels(stored, what)
        if image is not None:
            require_same_size((upright.height, upright.width), f"{what} {path}", image)
        with named_errors(what, path):
            return np.asarray(upright.convert("RGB") if modes is _COLORS and upright.mode != "RGB" else upright)


def _refuse_stretched(stored: Image.Image, what: str, path: str | os.PathLike) -> None:
    """Gray of 2 or 4 bits, and PGM files with another maximum, are stretched by all readers; labels are numbers."""
    for codec, _, _, arguments in getattr(stored, "tile", ()):  # how Pillow decodes them
        code, *others = arguments if isinstance(arguments, tuple) else (arguments,)
        few_bits = stored.mode == "L" and str(code).startswith(("L;2", "L;4"))
        if few_bits or (codec.startswith("ppm") and others and others[-1] not in _WHOLE_RANGES):
            raise ValueError(
                f"{what} {path} is stored with fewer than 8 bits per pixel, or with a maximum of its own, so that "
                "readers stretch its values: write the labels with 8 or 16 bits."
            )


def _refuse_lossy(stored: Image.Image, what: str, path: str | os.PathLike) -> None:
    """Such compression invents values at the edges of regions; labels are numbers, not brightness."""
    lossy = stored.format if stored.format in _LOSSY_FORMATS else None
    if stored.format == "TIFF" and stored.info.get("compression") in _LOSSY_TIFF:
        lossy = f"TIFF with {stored.info['compression']} compression"
    if stored.format == "WEBP":
        with open(path, "rb") as file:
            lossy = "lossy WEBP" if _LOSSY_WEBP in file.read(4096) else None  # the chunk follows profiles
    if lossy:
        raise ValueError(
            f"{what} {path} is stored as {lossy}, which changes values near edges: write the labels as PNG, from their "
            "source; a conversion of this file would keep the wrong values."
        )
