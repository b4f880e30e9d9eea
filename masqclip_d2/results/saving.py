"""Writing of one result in any formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..files import expand_home
from ..vocabulary import Vocabulary
from .formats import Destination, ResultFormat, find_formats
from .formats.images import labels_path, overlay_path
from .segmentation import Segmentation


def save(
    result: Segmentation,
    folder: Path,
    formats: str | Iterable[str],
    stem: str,
    image_name: str,
    min_score: float | None,
) -> list[Path]:
    """Write files of one result; see `Segmentation.save`."""
    chosen = find_formats(formats)
    if not stem or stem in (".", "..") or "/" in stem or "\\" in stem:
        raise ValueError(f"stem is {stem!r}; expected the name of a file without folder and suffix, such as 'photo'.")
    folder = expand_home(folder)
    make_writable(folder)
    destination = Destination(folder, stem, image_name)
    entries = write_files(result, destination, chosen, min_score)
    written = [path for one in chosen for path in one.files(destination)]
    for one in chosen:
        if one.collect is None:
            continue
        entry = entries.get(one.name, {})
        for name in one.collected:
            path = folder / (name if "/" in name else f"{stem}_{name}")
            one.collect(path, result.vocabulary, lambda entry=entry: iter([entry]))
            written.append(path)
    return written


def write_files(
    result: Segmentation, destination: Destination, formats: Sequence[ResultFormat], min_score: float | None = None
) -> dict[str, Any]:
    """Write the files of one image, and return the entries of formats with a file of all images, by their names.

    Args:
        result: of the image.
        destination: where the files are written.
        formats: which of them.
        min_score: see `Segmentation.drawn_segments`.
    """
    names = {one.name for one in formats}
    listed = [*destination.listed]
    final = replace(destination, folder=destination.final_folder or destination.folder)
    if "overlay" in names:
        listed.append(("visualization", str(overlay_path(final))))
    if "labels" in names:
        listed.append(("label_map", str(labels_path(final))))
    destination = replace(destination, listed=tuple(listed))
    shown = replace(result, segments=result.drawn_segments(min_score))
    entries = {}
    for one in formats:
        entry = one.write(result if one.all_segments else shown, destination)
        if entry is not None:
            entries[one.name] = entry
    return entries


def collect_files(
    folder: Path,
    formats: Iterable[ResultFormat],
    vocabulary: Vocabulary,
    entries_of: Callable[[str], Iterator[dict[str, Any]]],
) -> Iterator[Path]:
    """Write the files of all images of a run, one format after the other, and yield each format's first file.

    Args:
        folder: of the run.
        formats: those without such files are left out.
        vocabulary: the categories.
        entries_of: the entries of a format by its name, one per image; each call iterates once.
    """
    for one in formats:
        if one.collect is not None:
            path = folder / one.collected[0]
            one.collect(path, vocabulary, lambda name=one.name: entries_of(name))
            yield path


def make_writable(folder: Path) -> None:
    """Create a folder with its parents.

    Raises:
        ValueError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The output folder {folder} cannot be created: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"The output folder {folder} is not writable.")
