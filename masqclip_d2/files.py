"""Paths in home folders, zip archives, and atomic file writes: to a temporary file, which is then renamed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FAST_PNG = 1
"""Level of PNG's compression; photographs are written 3 times faster than by Pillow's default, and are 15 % larger."""


def expand_home(path: str | Path) -> Path:
    """Replace a leading ~ by the home folder.

    Raises:
        FileNotFoundError: the user has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(
            f"There is no home folder for {str(path)!r}. Give the whole path, or set the environment variable HOME."
        ) from error


def zip_entries(path: str | Path) -> list[zipfile.ZipInfo] | None:
    """Entries of a zip archive; None if the file is none.

    Raises:
        ValueError: it is a damaged archive.
    """
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:  # of is_zipfile, too
        raise ValueError(f"{path} is a damaged zip archive ({error}); copy or download it again.") from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` if the block succeeds; creates missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # of writing, such as on a full disk
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `path` if the block succeeds; creates missing parents.

    Args:
        path: of the folder.
        replace: a folder that exists is replaced; False: it stays, and the new one is removed.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if replace and path.is_dir():
            shutil.rmtree(path)
        if replace or not path.exists():
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file atomically; `indent` as of `json.dumps`."""
    save_text(path, json.dumps(content, indent=indent))


def save_image(path: Path, pixels: np.ndarray | Image.Image, **options: Any) -> None:
    """Write an image atomically, in the format of its suffix; `options` are those of Pillow's writer."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    with atomic_write(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix.lower()], **options)


def png_bytes(image: Image.Image) -> bytes:
    """An image as the content of a PNG file, written fast."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=FAST_PNG)
    return buffer.getvalue()


def link_or_copy(source: Path, path: Path) -> None:
    """Create a hard link to `source` at `path`; if the file system does not support that, a copy."""
    with atomic_write(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
