"""The record of a run in its output folder: what is finished, with which settings, and which files are results.

A file of lines, each one a JSON object: the settings and the files that the run writes, then a line for each image when
all its files are written. An interrupted run leaves whole lines, but for the last one, which is ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_write
from ..results.formats import Destination
from .inputs import InputImage

RECORD_NAME = ".masqclip_run.jsonl"


class RunRecord:
    """The record of an output folder.

    Args:
        folder: the output folder; it may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORD_NAME
        self.settings: dict[str, Any] | None = None
        self.own_files: set[Path] = set()
        self._lines: dict[str, int] = {}  # `Destination.name` -> position of its line
        self._length = 0  # bytes of whole lines
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._read()

    def _read(self) -> None:
        with self.path.open("rb") as file:
            for line in file:
                try:
                    content = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    content = None
                if not isinstance(content, dict):
                    return
                self.settings = content.get("settings", self.settings)
                self.own_files.update(self._absolute(name) for name in content.get("own_files", ()))
                if "name" in content:
                    self._lines[content["name"]] = self._length
                self._length += len(line)

    def require_same(
        self,
        settings: Mapping[str, Any],
        advice: str = "Pass the same settings, another --output, or leave out --resume to make them anew.",
    ) -> None:
        """Refuse to mix results of several settings in one folder.

        Args:
            settings: plain data that results depend on.
            advice: what to do otherwise, the end of the message.

        Raises:
            ValueError: the folder has results of other settings.
        """
        wanted, known = _plain(settings), self.settings
        if known is None or known == wanted:
            return
        different = [key for key in sorted({*wanted, *known}) if wanted.get(key) != known.get(key)]
        raise ValueError(
            f"The results in {self.path.parent} were made with other settings ({', '.join(different)}). {advice}"
        )

    def begin(self, settings: Mapping[str, Any], files: Sequence[Path], resume: bool) -> None:
        """Record the settings of a run and the files that it will write.

        Args:
            settings: plain data that results depend on.
            files: that the run writes.
            resume: keep what is finished.
        """
        self.own_files.update(Path(os.path.abspath(file)) for file in files)
        root = os.path.abspath(self.path.parent)
        names = sorted(os.path.relpath(file, root) for file in self.own_files)
        self.settings = _plain(settings)
        line = _line({"settings": self.settings, "own_files": names})
        if resume and self._length:
            os.truncate(self.path, self._length)  # drops an incomplete last line
            self._append(line)
        else:
            self._lines.clear()
            with atomic_write(self.path) as temporary:
                temporary.write_bytes(line)
            self._length = len(line)

    def is_finished(self, image: InputImage, destination: Destination, files: Sequence[Path]) -> bool:
        """Whether all files of an image are there, made of the image as it is now."""
        if destination.name not in self._lines or not image.path.exists():
            return False
        same = self._line_of(destination)["source"] == _source(image.path)
        return same and all(file.exists() for file in files)

    def add(self, image: InputImage, destination: Destination, entries: Mapping[str, Any]) -> None:
        """Record that all files of an image are written; `entries` are what files of all images need."""
        line = _line({"name": destination.name, "source": _source(image.path), "entries": entries})
        self._lines[destination.name] = self._length
        self._append(line)

    def entries(self, format_name: str, destinations: Sequence[Destination]) -> Iterator[dict[str, Any]]:
        """Entries of a format for those images that are finished."""
        for destination in destinations:
            if destination.name in self._lines:
                yield self._line_of(destination)["entries"].get(format_name, {})

    def num_finished(self, destinations: Sequence[Destination]) -> int:
        """How many of the images are finished."""
        return sum(destination.name in self._lines for destination in destinations)

    def _line_of(self, destination: Destination) -> dict[str, Any]:
        with self.path.open("rb") as file:
            file.seek(self._lines[destination.name])
            return json.loads(file.readline())

    def _append(self, line: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(line)
        self._length += len(line)

    def _absolute(self, name: str) -> Path:
        return Path(os.path.abspath(self.path.parent / name))


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings))  # with lists for tuples


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode("ascii") + b"\n"


def _source(path: Path) -> list[Any]:
    """Where a file is, how large, and when it was changed."""
    status = path.stat()
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]
