"""Which files are segmented: image files, folders and globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.registration.image_folders import IMAGE_SUFFIXES
from ..files import expand_home

_MAX_NAMES = 10  # in a list of names in a message

SAMPLES = Path(__file__).resolve().parent.parent / "shapes" / "samples"
"""Folder of images in the categories of Shapes."""


@dataclass(frozen=True)
class InputImage:
    """An image file.

    Args:
        path: of the file.
        name: its path below the folder (or the fixed part of the glob) that was named, with "/"; of a file its name.
    """

    path: Path
    name: str


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many there are beside them."""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"{', '.join(names[:_MAX_NAMES])}{more}"


def find_images(patterns: Sequence[str], recursive: bool = False, exclude: Collection[Path] = ()) -> list[InputImage]:
    """Expand files, folders (their images, sorted) and globs; a missing file is kept if another one exists.

    Args:
        patterns: files, folders and globs. A file that several of them name is taken once.
        recursive: images in subfolders of folders, too, except hidden ones.
        exclude: absolute paths that folders and globs do not contribute: results of an earlier run.

    Raises:
        FileNotFoundError: a folder or a glob has no image, or none of the files exists.
    """
    found: dict[str, InputImage] = {}
    for pattern in patterns:
        path = expand_home(pattern)
        if path.is_dir():
            matches = [file for file in _files_in(path, recursive) if _absolute(file) not in exclude]
            images = [InputImage(file, file.relative_to(path).as_posix()) for file in matches]
        elif glob.has_magic(pattern) and not path.exists():
            files = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]
            fixed = _fixed_part(path)
            matches = [file for file in files if _absolute(file) not in exclude]
            images = [InputImage(file, file.relative_to(fixed).as_posix()) for file in matches]
        else:
            images = [InputImage(path, path.name)]
        if not images:
            hint = "" if recursive or not _has_subfolders(path) else " Add --recursive for those in its subfolders."
            raise FileNotFoundError(f"No images match --input {pattern!r}.{hint}")
        for image in images:
            found.setdefault(os.path.abspath(image.path), image)
    if not any(image.path.exists() for image in found.values()):
        raise FileNotFoundError(f"There is no image {listed([str(image.path) for image in found.values()])}.")
    return list(found.values())


def _files_in(folder: Path, recursive: bool) -> Iterator[Path]:
    """Images of a folder in alphabetical order, then those of its subfolders."""
    entries = sorted(folder.iterdir())
    yield from (entry for entry in entries if _is_image(entry))
    if recursive:
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
                yield from _files_in(entry, recursive)


def _is_image(file: Path) -> bool:
    """Hidden files are left out, among them the "._photo.jpg" that macOS writes beside a photo."""
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and not file.is_dir()


def _has_subfolders(path: Path) -> bool:
    return path.is_dir() and any(entry.is_dir() for entry in path.iterdir())


def _fixed_part(pattern: Path) -> Path:
    """The folder before the first part of a glob that is none."""
    parts = list(pattern.parts)
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first]) if first else Path()


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
