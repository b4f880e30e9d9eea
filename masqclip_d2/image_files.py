"""Opening of image files: regular files of bounded size only; any failure is one sentence with the file's name.

Pictures, label maps, panoptic PNGs and PNGs of masks are all opened here.
"""

from __future__ import annotations

import io
import mimetypes
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_MEGAPIXELS = 178
"""Default limit of a file's size, which is Pillow's own."""

BYTES = "in these bytes"
"""Stands for the path of a file that was given by its content, in messages."""

LIMIT_VARIABLE = "MASQCLIP_MAX_MEGAPIXELS"
"""Environment variable that raises the limit everywhere."""

# PIL's errors on damaged files; its readers do not catch the errors of their parsers.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError,
    RuntimeError, MemoryError, AssertionError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
_PILLOW_LIMIT = threading.Lock()  # it is a variable of its module
_ORIENTATION = 0x0112  # tag of EXIF
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
_RUN_PROGRAMS = ("EPS", "WMF")  # Pillow starts other programs to draw these
_LFS_POINTER = b"version https://git-lfs"


@contextmanager
def opened_image(
    path: str | os.PathLike | io.BytesIO, what: str = "Image", max_megapixels: float = MAX_MEGAPIXELS
) -> Iterator[Image.Image]:
    """Open an image file and read its header only; `upright_pixels` decodes it.

    Args:
        path: a file in any format that Pillow reads, or its content.
        what: its kind, which begins every message.
        max_megapixels: limit of its size; `LIMIT_VARIABLE` raises it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, a pipe or a device, empty, no image, or too large.
    """
    if isinstance(path, io.BytesIO):
        file, path = path, Path(BYTES)
        if not file.getbuffer().nbytes:
            raise ValueError(f"{what} {path} cannot be read: there are none.")
    else:
        file = path = Path(path)
        _require_regular(path, what)
    with named_errors(what, path), _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        if image.format in _RUN_PROGRAMS:
            raise ValueError(f"{what} {path} cannot be read: it is {image.format}, no pixels; save it as PNG.")
        _check_size(image, max_megapixels, what, path)
        yield image


def upright_pixels(image: Image.Image, what: str = "Image") -> Image.Image:
    """Decode the image of `opened_image` and turn it as its EXIF orientation says; a damaged EXIF block is ignored.

    Raises:
        ValueError: the file is truncated or damaged.
    """
    with named_errors(what, getattr(image, "filename", "") or BYTES):
        image.load()
    return turned_upright(image)


@contextmanager
def named_errors(what: str, path: str | os.PathLike) -> Iterator[None]:
    """Turn Pillow's errors into a ValueError of one sentence with the file's name."""
    try:
        yield
    except UnidentifiedImageError:
        raise ValueError(f"{what} {path} cannot be read: it {_unknown_content(Path(path))}.") from None
    except _DAMAGED as error:
        advice = "" if ";" in str(error) else "; copy or download it again"
        raise ValueError(f"{what} {_reason(error, str(path))}{advice}.") from error


def turned_upright(image: Image.Image) -> Image.Image:
    """A decoded image as its EXIF orientation says; a damaged EXIF block is ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED:  # only the EXIF block is damaged
        return image


def image_size(path: str | os.PathLike, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[int, int]:
    """(width, height) of an image file as it is used: turned upright by its EXIF orientation.

    The pixels are decoded only where the format may store the orientation after them (PNG).

    Raises:
        FileNotFoundError, ValueError: see `opened_image`.
    """
    with opened_image(path, max_megapixels=max_megapixels) as image:
        width, height = image.size
        return (height, width) if is_turned(image) else (width, height)


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF orientation exchanges width and height of `image.size`."""
    try:
        turned = image.getexif().get(_ORIENTATION) in _TURNED
        if turned and image.format == "TIFF":  # newer versions of Pillow have exchanged them already
            tags = getattr(image, "tag_v2", {})
            return image.size == (tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT])
        return turned
    except _DAMAGED:
        return False


def stored_turned(path: str | os.PathLike) -> bool:
    """`is_turned` of an image file; False if it cannot be read. For messages about sizes."""
    try:
        with opened_image(path) as image:
            return is_turned(image)
    except (OSError, ValueError):
        return False


def megapixel_limit(configured: float = MAX_MEGAPIXELS) -> float:
    """The larger of a limit and of `LIMIT_VARIABLE`, if that is set.

    Raises:
        ValueError: the variable is no positive number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text:
        return configured
    try:
        raised = float(text)
    except ValueError:
        raised = 0.0
    if not raised > 0:  # NaN too
        raise ValueError(f"The environment variable {LIMIT_VARIABLE} is {text!r}; set a number of megapixels.")
    return max(configured, raised)


def _require_regular(path: Path, what: str) -> None:
    """Refuse what would block (pipes, devices) or has no content."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"{what} {path} does not exist.") from None
    except (OSError, ValueError) as error:  # a name that is too long, that has a NUL
        raise ValueError(f"{what} {_reason(error, str(path)[:200])}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{what} {path} is a folder.")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{what} {path} is no regular file, but a pipe, socket or device; give a file.")
    if status.st_size == 0:
        raise ValueError(f"{what} {path} cannot be read: it is empty (0 bytes); copy or download it again.")


def _reason(error: Exception, path: str) -> str:
    text = str(getattr(error, "strerror", None) or error).rstrip(".")
    return f"{path} cannot be read: {text or type(error).__name__}"


def _unknown_content(path: Path) -> str:
    if str(path) == BYTES:
        return "is no image, damaged, or in a format that Pillow does not support"
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(_LFS_POINTER):
        return "is a pointer of Git LFS, not the image; fetch it with: git lfs pull"
    if (mimetypes.guess_type(path.name)[0] or "").startswith("video/"):
        return "is a video by its name; `masqclip demo --video-input` takes videos"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        return f"is text, no image: it begins with {start[:20].decode('ascii')!r}"
    return "is damaged, or in a format that Pillow does not support"


def _check_size(image: Image.Image, max_megapixels: float, what: str, path: Path) -> None:
    limit, megapixels = megapixel_limit(max_megapixels), image.width * image.height / 1e6
    if megapixels > limit:
        raise ValueError(
            f"{what} {path} cannot be read: it has {megapixels:.0f} megapixels ({image.width} x {image.height}), more "
            f"than the limit of {limit:g}; shrink it, or raise the limit with the key INPUT.MAX_MEGAPIXELS or the "
            f"environment variable {LIMIT_VARIABLE}."
        )
