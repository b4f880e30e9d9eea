"""Images of a run with the files that are written for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import expand_home
from ..results.formats import Destination, ResultFormat
from ..results.saving import make_writable
from .inputs import InputImage, find_images
from .outputs import all_files, destinations, is_one_file, refuse_overwriting
from .record import RunRecord


@dataclass(frozen=True)
class Batch:
    """Images, and where their results are written.

    Args:
        inputs: the images.
        destinations: one for each of them.
        formats: of the results.
        record: of the output folder; None: results are not recorded, and there are no files of all images.
    """

    inputs: Sequence[InputImage]
    destinations: Sequence[Destination]
    formats: Sequence[ResultFormat]
    record: RunRecord | None = None

    def files(self, destination: Destination) -> list[Path]:
        """The files of one image."""
        return [file for one in self.formats for file in one.files(destination)]

    def missing(self) -> list[tuple[InputImage, Destination]]:
        """Images without finished results."""
        rows = zip(self.inputs, self.destinations, strict=True)
        if self.record is None:
            return list(rows)
        return [row for row in rows if not self.record.is_finished(*row, self.files(row[1]))]

    def require_resumable(self, settings: Mapping[str, Any]) -> None:
        """Refuse to continue a run of other settings.

        Raises:
            ValueError: the results in the output folder are of other settings, or the output is a single file.
        """
        if self.record is None:
            raise ValueError("--resume needs a folder as --output; a single file has no record of a run.")
        self.record.require_same(settings)

    def begin(self, settings: Mapping[str, Any], resume: bool = False) -> None:
        """Record the settings of the results in the output folder; without `resume`, all images are missing again."""
        if self.record is not None:
            self.record.begin(settings, all_files(self.destinations, self.formats), resume)


def plan_batch(patterns: Sequence[str], output: str, formats: Sequence[ResultFormat], recursive: bool = False) -> Batch:
    """Find images and where their results are written; creates the output folder.

    Args:
        patterns: files, folders and globs, see `find_images`.
        output: a folder, or the visualization's file for a single image.
        formats: of the results.
        recursive: see `find_images`.

    Raises:
        FileNotFoundError: there is no such image.
        ValueError: the output would overwrite images or other files that are no results, or cannot be written.
    """
    record = None if is_one_file(output) else RunRecord(expand_home(output))
    own = set() if record is None else record.own_files
    inputs = find_images(patterns, recursive, own)
    where = destinations(inputs, output, formats)
    collecting = [one.name for one in formats if one.collect is not None]
    if record is None and collecting:
        raise ValueError(f"--save {collecting[0]} writes files of all images; pass a folder as --output.")
    named = [expand_home(output)] if record is None else []
    refuse_overwriting(all_files(where, formats), inputs, own, named)
    make_writable(where[0].folder)
    return Batch(inputs, where, formats, record)
