"""Files of a dataset folder, sub-folders included, such as Cityscapes' cities or one folder per video."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path

logger = logging.getLogger(__name__)

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


def path_below(root: str, file_name: str) -> str:
    """Return the path of a file below a folder; file names of Windows have "\\" between folders."""
    path = os.path.join(root, file_name)
    return path if "\\" not in file_name or os.path.exists(path) else os.path.join(root, file_name.replace("\\", "/"))


def files_by_stem(root: str | os.PathLike, suffix: str | None, exclude: Collection[str] = ()) -> dict[str, list[str]]:
    """Map stems to the files of a folder and its sub-folders that have a suffix.

    Args:
        root: the folder.
        suffix: end of the file names in any letter case, such as "_leftImg8bit.png"; None: any of `IMAGE_SUFFIXES`.
        exclude: paths (root joined with the file) to leave out.

    Returns:
        {path below `root` without the suffix, such as "aachen/aachen_000000_000019": paths of files below `root`}; a
        stem has several files if they differ in their suffixes only.
    """
    found: dict[str, list[str]] = {}
    for file in nested_files(root):
        if suffix is not None:
            matches, stem = file.lower().endswith(suffix.lower()), file[: len(file) - len(suffix)]
        else:
            stem, dot, last = file.rpartition(".")
            matches = f"{dot}{last}".lower() in IMAGE_SUFFIXES
        if matches and os.path.join(root, file) not in exclude:
            found.setdefault(stem, []).append(file)
    return found


class ImageFolder:
    """Image paths for the file names of an annotation file.

    A file name that may have sub-folders is taken below `root`, or if it begins with the name of `root`, beside it;
    "\\" separates folders, too. A plain file name that is not in `root` itself, or an absolute one that does not exist,
    is looked up by its last part in `root` and its sub-folders. For "..._gtFine_leftImg8bit.png", which Cityscapes'
    panoptic json has, the image "..._leftImg8bit.png" is found, too.

    Args:
        root: folder of the images; need not exist.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._absolute: list[str] = []
        self._listings: dict[str, frozenset[str]] = {}

    def path(self, file_name: str) -> str:
        """Return the path of an image; if the file is not found, the path where it is expected.

        Raises:
            ValueError: several sub-folders have a file of that name.
        """
        if file_name in self._direct:
            return os.path.join(self.root, file_name)
        path = path_below(self.root, file_name)
        file_name = file_name.replace("\\", "/")
        is_absolute = file_name.startswith("/") or file_name[1:2] == ":"
        if "/" in file_name and not (is_absolute and not self._exists(path)):
            beside = os.path.join(os.path.dirname(os.path.abspath(self.root)), file_name)
            return beside if not self._exists(path) and self._exists(beside) else path
        plain_name = file_name.rpartition("/")[2]
        for name in _possible_names(plain_name):
            paths = [name] if name in self._direct else self._nested.get(name, [])
            if len(paths) > 1:
                raise ValueError(
                    f"{self.root} has several files {name!r}: {paths[0]}, {paths[1]}; give the sub-folder in the "
                    "`file_name` of the annotation file."
                )
            if paths:
                if is_absolute:
                    self._absolute.append(file_name)
                return os.path.join(self.root, paths[0])
        return path

    def log(self, where: str) -> None:
        """Log a warning about file names for which files elsewhere are used; `where` is their annotation file."""
        if self._absolute:
            logger.warning(
                "%s: %d file names are paths of another machine, such as %s; images of these names in %s are used.",
                where,
                len(self._absolute),
                self._absolute[0],
                self.root,
            )

    def _exists(self, path: str) -> bool:
        """Whether a file exists; each folder is listed once."""
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in self._listings:
            self._listings[folder] = frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()
        return name in self._listings[folder]

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
