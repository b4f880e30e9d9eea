"""Files of a dataset folder, sub-folders included, such as Cityscapes' cities or one folder per video."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")

# cityscapesScripts' createPanopticImgs.py writes the labels' name as the image's `file_name`.
_CITYSCAPES_NAME, _CITYSCAPES_IMAGE = "_gtFine_leftImg8bit.png", "_leftImg8bit.png"


def nested_files(root: str | os.PathLike) -> Iterator[str]:
    """Yield the paths below `root`, with "/", of all files in it and its sub-folders, except hidden ones.

    Links to folders are followed; each folder is visited once.
    """
    visited = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        yield from ((relative / name).as_posix() for name in sorted(names) if not name.startswith("."))


def files_by_stem(root: str | os.PathLike, suffix: str | None, exclude: Collection[str] = ()) -> dict[str, list[str]]:
    """Map stems to the files of a folder and its sub-folders that have a suffix.

    Args:
        root: the folder.
        suffix: end of the file names, such as "_leftImg8bit.png"; None: any of `IMAGE_SUFFIXES`, in any letter case.
        exclude: paths (root joined with the file) to leave out.

    Returns:
        {path below `root` without the suffix, such as "aachen/aachen_000000_000019": paths of files below `root`}; a
        stem has several files if they differ in their suffixes only.
    """
    found: dict[str, list[str]] = {}
    for file in nested_files(root):
        if suffix is not None:
            matches, stem = file.endswith(suffix), file.removesuffix(suffix)
        else:
            stem, dot, last = file.rpartition(".")
            matches = f"{dot}{last}".lower() in IMAGE_SUFFIXES
        if matches and os.path.join(root, file) not in exclude:
            found.setdefault(stem, []).append(file)
    return found


class ImageFolder:
    """Image paths for the file names of an annotation file.

    A file name that may have sub-folders is taken below `root`. A plain file name that is not in `root` itself is
    looked up in its sub-folders. For "..._gtFine_leftImg8bit.png", which Cityscapes' panoptic json has, the image
    "..._leftImg8bit.png" is found, too.

    Args:
        root: folder of the images; need not exist.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, file_name: str) -> str:
        """Return the path of an image; if the file is not found, the path where it is expected.

        Raises:
            ValueError: several sub-folders have a file of that name.
        """
        if "/" in file_name or file_name in self._direct:
            return os.path.join(self.root, file_name)
        for name in _possible_names(file_name):
            paths = [name] if name in self._direct else self._nested.get(name, [])
            if len(paths) > 1:
                raise ValueError(
                    f"{self.root} has several files {name!r}: {paths[0]}, {paths[1]}; give the sub-folder in the "
                    "`file_name` of the annotation file."
                )
            if paths:
                return os.path.join(self.root, paths[0])
        return os.path.join(self.root, file_name)

    @cached_property
    def _direct(self) -> frozenset[str]:
        return frozenset(os.listdir(self.root)) if os.path.isdir(self.root) else frozenset()

    @cached_property
    def _nested(self) -> dict[str, list[str]]:
        """File name -> its paths in sub-folders."""
        found: dict[str, list[str]] = {}
        for file in nested_files(self.root):
            found.setdefault(file.rpartition("/")[2], []).append(file)
        return found


def _possible_names(file_name: str) -> Iterable[str]:
    yield file_name
    if file_name.endswith(_CITYSCAPES_NAME):
        yield file_name.removesuffix(_CITYSCAPES_NAME) + _CITYSCAPES_IMAGE
