"""What a file format of results consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...vocabulary import Vocabulary
from ..segmentation import Segmentation

Entries = Callable[[], Iterator[dict[str, Any]]]
"""Each call iterates once over the entries of a format, one per image."""


@dataclass(frozen=True)
class Destination:
    """Where the files of one result are written.

    Args:
        folder: of the whole run.
        name: of the image, without suffix, below the folder: "a" or "trip/a".
        image: the image's name in files that list images: its path below the input folder, with "/".
        overlay_suffix: image format of the visualization.
        listed: further entries of the JSON file, such as paths of the other files.
        final_folder: to which `folder` is renamed when it is complete; None: it is not.
    """

    folder: Path
    name: str
    image: str = ""
    overlay_suffix: str = ".png"
    listed: tuple[tuple[str, str], ...] = ()
    final_folder: Path | None = None

    @property
    def image_name(self) -> str:
        """`image`, or else the name with the suffix of a PNG file."""
        return self.image or f"{self.name}.png"

    def path(self, suffix: str, subfolder: str = "") -> Path:
        """The file of this name with a suffix, such as "_labels.png", in a subfolder of the run's folder."""
        return self.folder / subfolder / f"{self.name}{suffix}"


@dataclass(frozen=True)
class ResultFormat:
    """A file format of results.

    Args:
        name: as users name it.
        about: one line for help texts.
        files: the files or folders that `write` writes.
        write: writes the result of one image, and returns what `collect` needs of it, as plain data; None: nothing.
        collected: names of the files that `collect` writes, relative to the run's folder.
        collect: writes them for all images: (path of the first of them, vocabulary, entries).
        all_segments: also those that are not drawn because of their score.
    """

    name: str
    about: str
    files: Callable[[Destination], list[Path]]
    write: Callable[[Segmentation, Destination], dict[str, Any] | None]
    collected: tuple[str, ...] = ()
    collect: Callable[[Path, Vocabulary, Entries], None] | None = None
    all_segments: bool = False


def no_files(destination: Destination) -> list[Path]:
    """For formats without files per image."""
    return []
