"""Checks of what visitors send, before it waits for the networks: images by their headers, category names, masks."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..coco_masks import ScoredMasks
from ..error_report import sentence
from ..files import zip_entries
from ..hub import sha256_of
from ..image_files import is_turned, opened_image
from ..json_data import read_json
from ..proposer.mask_files import SUFFIXES, masks_of_file_entries, read_mask_file
from ..vocabulary import Vocabulary
from .limits import Limits
from .refusals import Refusal

_MAX_NAME = 80  # characters of a file's name in messages
_DECODING = threading.Semaphore(2)  # images that are decoded at a time, as each takes memory


@dataclass(frozen=True)
class Upload:
    """A file of a visitor.

    Args:
        path: where it was saved.
        name: as the visitor calls it.
    """

    path: Path
    name: str

    @property
    def shown_name(self) -> str:
        """The name for messages."""
        name = self.name.replace("\\", "/").rsplit("/", 1)[-1]
        return "".join(each if each.isprintable() else "?" for each in name)[:_MAX_NAME] or "without a name"

    def refusal(self, error: Exception, status: int) -> Refusal:
        """The refusal for an error about this file, without the path on this machine."""
        return Refusal(sentence(error).replace(str(self.path), self.shown_name), status)


@dataclass(frozen=True)
class CheckedImage:
    """An image whose header was read.

    Args:
        upload: its file.
        width, height: in pixels, upright.
        size: of the file in bytes.
        digest: of its content.
    """

    upload: Upload
    width: int
    height: int
    size: int
    digest: str

    @property
    def path(self) -> Path:
        """Its file."""
        return self.upload.path

    @property
    def megapixels(self) -> float:
        """Its size in megapixels."""
        return self.width * self.height / 1e6


def check_image(upload: Upload, limits: Limits) -> CheckedImage:
    """Read the header of an image.

    Raises:
        Refusal: it is too large, damaged or no image.
    """
    try:
        size = upload.path.stat().st_size
    except OSError:
        raise Refusal(f"The file {upload.shown_name} is no longer here; upload it again.") from None
    if size > limits.upload_bytes:
        raise too_large(limits)
    try:
        with _DECODING, opened_image(upload.path, max_megapixels=math.inf) as image:
            width, height = image.size
            if width * height > limits.megapixels * 1e6:  # before a PNG is decoded to read its orientation
                raise Refusal(
                    f"The image {upload.shown_name} has {width * height / 1e6:.0f} megapixels ({width} x {height}); at "
                    f"most {limits.megapixels:g} are accepted here.",
                    413,
                )
            if is_turned(image):
                width, height = height, width
    except Refusal:
        raise
    except (ValueError, OSError) as error:
        raise upload.refusal(error, 415) from None
    return CheckedImage(upload, width, height, size, sha256_of(upload.path))


def require_uploaded(data: Any, folder: Path) -> None:
    """Refuse data of a request that names files or addresses beside the uploads: Gradio would copy them into its cache.

    Args:
        data: plain data; a dict with "path" names a file.
        folder: of the uploads.

    Raises:
        Refusal: a file is not in the folder.
    """
    inside, left = os.path.realpath(folder) + os.sep, [data]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            path = one.get("path")
            if path is not None and not (isinstance(path, str) and _real_path(path).startswith(inside)):
                raise Refusal(f"The file {Upload(Path(), str(path)).shown_name} was not uploaded here; upload it.")
            left.extend(one.values())
        elif isinstance(one, (list, tuple)):
            left.extend(one)


def _real_path(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (ValueError, OSError):  # a NUL, a loop of links
        return ""


def too_large(limits: Limits) -> Refusal:
    """The refusal of a request with too many bytes."""
    return Refusal(f"The upload has more than {limits.upload_mb:g} MB, the limit here; send a smaller file.", 413)


def check_categories(names: str | Sequence[str], stuff: str | Sequence[str], limits: Limits) -> Vocabulary:
    """The vocabulary of category names, see `Vocabulary.from_names`.

    Raises:
        Refusal: there are none, too many, or one twice.
    """
    try:
        vocabulary = Vocabulary.from_names(names, stuff)
    except (ValueError, TypeError) as error:
        raise Refusal(sentence(error)) from None
    count = sum(map(len, vocabulary.synonyms))
    if count > limits.categories:
        raise Refusal(f"There are {count} category names; at most {limits.categories} are accepted here.")
    return vocabulary


def read_masks(uploads: Sequence[Upload], image: CheckedImage, limits: Limits) -> Any:
    """Masks of one's own, as `Predictor.encode` takes them.

    Args:
        uploads: one .npz or .json file, or any number of PNG files with a mask each; see `proposer.mask_files`.
        image: that they belong to.

    Raises:
        Refusal: too many masks, of another size or format, or damaged.
    """
    suffixes = {Path(each.shown_name).suffix for each in uploads}
    if suffixes != {".png"} and (len(uploads) != 1 or not suffixes <= set(SUFFIXES)):
        raise Refusal(f"Masks are PNG files with a mask each, or one file with the suffix {' or '.join(SUFFIXES)}.")
    with tempfile.TemporaryDirectory(prefix="masqclip-masks-") as folder:
        # Under the visitor's names, which messages contain; a folder of PNG files is what their reader takes.
        for index, upload in enumerate(uploads):
            path = Path(folder, upload.shown_name)
            (Path(folder, f"{index}_{path.name}") if path.is_symlink() else path).symlink_to(upload.path.resolve())
        target = Path(folder) if suffixes == {".png"} else Path(folder, uploads[0].shown_name)
        try:
            found = _read(target, len(uploads), image, limits)
        except Refusal:
            raise
        except (ValueError, OSError) as error:
            raise Refusal(sentence(error).replace(f"{folder}/", "").replace(folder, "the upload")) from None
    return {"masks": found.masks, "scores": found.scores}


def _read(path: Path, num_files: int, image: CheckedImage, limits: Limits) -> ScoredMasks:
    """Masks of a file or of a folder of PNG files; too many are refused before they take memory."""
    image_hw = (image.height, image.width)
    if path.suffix == ".json":
        content = read_json(path)
        entries = content.get("annotations") if isinstance(content, dict) else content
        _check_count(len(entries) if isinstance(entries, list) else 0, image, limits)
        return masks_of_file_entries(entries, image_hw, path.name)
    if path.is_dir():
        _check_count(num_files, image, limits)
        return read_mask_file(path, image_hw)
    if sum(entry.file_size for entry in zip_entries(path) or ()) > 2e6 * limits.mask_megapixels:
        raise Refusal(f"The masks of {path.name} are too large; save them as bool arrays, or send fewer.", 413)
    found = read_mask_file(path, image_hw)
    _check_count(len(found.masks), image, limits)
    return found


def _check_count(count: int, image: CheckedImage, limits: Limits) -> None:
    if count > limits.masks or count * image.megapixels > limits.mask_megapixels:
        raise Refusal(
            f"There are {count} masks of {image.width} x {image.height} pixels; at most {limits.masks} masks with "
            f"{limits.mask_megapixels:g} megapixels together are accepted here.",
            413,
        )
