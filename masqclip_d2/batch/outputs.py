"""Where results are written: names that do not clash, and files that must not be overwritten."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from ..data.registration.image_folders import IMAGE_SUFFIXES
from ..files import expand_home
from ..results.formats import Destination, ResultFormat
from .inputs import InputImage, listed


def is_one_file(output: str) -> bool:
    """Whether `output` names the visualization of a single image, not a folder."""
    return Path(output).suffix.lower() in IMAGE_SUFFIXES


def destinations(inputs: Sequence[InputImage], output: str, formats: Sequence[ResultFormat]) -> list[Destination]:
    """Where the files of each image are written.

    The tree of the input folder is kept. If files of two images would have the same name, the later image's suffix
    becomes a part of its name ("a.png" -> "a_png"), and then a number.

    Args:
        inputs: the images.
        output: a folder, or the visualization's file (with the suffix of an image) for a single image.
        formats: of the results.

    Raises:
        ValueError: several images have one output file.
    """
    path = expand_home(output)
    if is_one_file(output):
        if len(inputs) > 1:
            raise ValueError(f"--output {output} is one file, but there are {len(inputs)} inputs; pass a folder.")
        return [Destination(path.parent, path.stem, inputs[0].name, path.suffix)]
    taken = {_key(file) for file in collected_files(path, formats)}
    counts = Counter(image.name for image in inputs)
    found = []
    for image in inputs:
        listed_as = image.name if counts[image.name] == 1 else image.path.as_posix()
        candidates = (Destination(path, name, listed_as) for name in _names(image.name))
        destination = next(one for one in candidates if taken.isdisjoint(_keys(one, formats)))
        taken.update(_keys(destination, formats))
        found.append(destination)
    return found


def _names(image: str) -> Iterator[str]:
    """Names for the files of an image, without suffix: "trip/a", "trip/a_jpg", "trip/a_jpg_2", ..."""
    path = PurePosixPath(image)
    folder = "" if str(path.parent) == "." else f"{path.parent}/"
    yield f"{folder}{path.stem}"
    longer = f"{folder}{path.stem}_{path.suffix[1:]}" if path.suffix else f"{folder}{path.stem}_image"
    yield longer
    number = 2
    while True:
        yield f"{longer}_{number}"
        number += 1


def _keys(destination: Destination, formats: Sequence[ResultFormat]) -> set[str]:
    files = [destination.folder / destination.name, *(file for one in formats for file in one.files(destination))]
    return {_key(file) for file in files}


def _key(file: Path) -> str:
    """Equal for names that some file systems do not distinguish."""
    return str(file).casefold()


def collected_files(folder: Path, formats: Iterable[ResultFormat]) -> list[Path]:
    """The files of all images of a run."""
    return [folder / name for one in formats for name in one.collected]


def all_files(where: Sequence[Destination], formats: Sequence[ResultFormat]) -> list[Path]:
    """All files of a run."""
    files = [file for destination in where for one in formats for file in one.files(destination)]
    return files + collected_files(where[0].folder, formats)


def refuse_overwriting(
    files: Sequence[Path], inputs: Sequence[InputImage], own: Collection[Path], named: Collection[Path] = ()
) -> None:
    """Refuse to write over an input, or over any file that is not a result.

    Args:
        files: that will be written.
        inputs: the images.
        own: absolute paths of results of earlier runs.
        named: existing files that the user named as output.

    Raises:
        ValueError: see above.
    """
    sources = {image.path.expanduser().resolve() for image in inputs}
    overwritten = [str(file) for file in files if file.resolve() in sources]
    if overwritten:
        raise ValueError(f"The output would overwrite the input {listed(overwritten)}; pass another --output.")
    foreign = [
        str(file)
        for file in files
        if file.exists() and Path(os.path.abspath(file)) not in own and file not in named and not _is_listed(file)
    ]
    if foreign:
        raise ValueError(
            f"The output would overwrite {listed(foreign)}, which no earlier run has written; pass another --output, "
            "or move what is there."
        )


def _is_listed(file: Path) -> bool:
    """Whether a JSON file of ours beside a file is the file itself, or names it."""
    for stem in {file.stem, file.stem.removesuffix("_labels")}:
        path = file.with_name(f"{stem}.json")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict) or not {"vocabulary", "segments", "image"} <= content.keys():
            continue
        names = {Path(str(content.get(key, ""))).name for key in ("visualization", "label_map")}
        if file.name in names or file == path:
            return True
    return False
