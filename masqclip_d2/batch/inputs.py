"""Which files are segmented: image files, folders and globs."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from ..data.registration.image_folders import IMAGE_SUFFIXES
from ..files import expand_home

_MAX_NAMES = 10  # in a list of names in a message

SAMPLES = Path(__file__).resolve().parent.parent / "shapes" / "samples"
"""Folder of images in the categories of Shapes."""


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many there are beside them."""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"{', '.join(names[:_MAX_NAMES])}{more}"


def find_images(patterns: Sequence[str]) -> list[Path]:
    """Expand files, folders (their images, sorted) and globs; a missing file is kept if another one exists.

    Raises:
        FileNotFoundError: a folder or a glob has no image, or none of the files exists.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = expand_home(pattern)
        if path.is_dir():
            matches = sorted(file for file in path.iterdir() if _is_image(file))
        elif glob.has_magic(pattern) and not path.exists():
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]
        else:
            matches = [path]
        if not matches:
            raise FileNotFoundError(f"No images match --input {pattern!r}.")
        found += matches
    if not any(path.exists() for path in found):
        raise FileNotFoundError(f"There is no image {listed([str(path) for path in found])}.")
    return found


def _is_image(file: Path) -> bool:
    """Hidden files are left out, among them the "._photo.jpg" that macOS writes beside a photo."""
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and not file.is_dir()
