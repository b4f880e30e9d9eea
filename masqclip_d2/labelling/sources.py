"""Which images are labelled: files, folders, globs, lists, tables, and URLs of object stores."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ..batch.inputs import find_images, listed
from ..data.registration.image_folders import IMAGE_SUFFIXES
from ..files import expand_home
from ..optional_packages import optional_package

_COLUMNS = ("path", "image", "file_name", "url")  # of a table; the first of these that it has


@dataclass(frozen=True)
class ImageSource:
    """An image.

    Args:
        location: its path, or a URL such as s3://bucket/photos/1.jpg.
        name: a relative path with "/" that no other image has: names its results.
    """

    location: str
    name: str


def is_url(text: str) -> bool:
    """Whether this is a URL and no path."""
    return "://" in text


def find_sources(patterns: Sequence[str], recursive: bool, output: Path) -> list[ImageSource]:
    """Expand files, folders, globs, lists (.txt), tables (.parquet) and URLs; an image that several name is taken once.

    Args:
        patterns: see above. Lines of a list and rows of a table are paths, relative to its folder, or URLs.
        recursive: images in subfolders of folders, too.
        output: folder of the results, whose files are no inputs.

    Raises:
        FileNotFoundError, ValueError: something does not exist, cannot be read, or has no image.
    """
    found: dict[str, str] = {}  # location -> name
    own = f"{os.path.abspath(output)}{os.sep}"
    for pattern in patterns:
        before, in_output = len(found), False
        for location, name in _expanded(pattern, recursive):
            location = location if is_url(location) else os.path.abspath(location)
            if location.startswith(own):
                in_output = True
            else:
                found.setdefault(location, name)
        if len(found) == before == 0:
            hint = " Those in --output are left out; choose another folder." if in_output else ""
            raise FileNotFoundError(f"No images match --input {pattern!r}.{hint}")
    counts = Counter(found.values())
    found = {location: name if counts[name] == 1 else _relative(location) for location, name in found.items()}
    counts = Counter(found.values())  # a:b and ab are equal there
    return [
        ImageSource(location, name if counts[name] == 1 else _with_digest(name, location))
        for location, name in found.items()
    ]


def _expanded(pattern: str, recursive: bool) -> Iterator[tuple[str, str]]:
    """(location, name) of images."""
    if is_url(pattern):
        yield from _images_at(pattern, recursive)
    elif pattern.endswith((".txt", ".parquet")):
        path = expand_home(pattern)
        if not path.is_file():
            raise FileNotFoundError(f"--input {path} does not exist.")
        for entry in _lines(path) if pattern.endswith(".txt") else _rows(path):
            yield (entry if is_url(entry) else str(path.parent / expand_home(entry))), _relative(entry)
    else:
        for image in find_images([pattern], recursive):
            yield str(image.path), image.name


def _relative(location: str) -> str:
    """A relative path that names a location: without scheme, root and steps upwards."""
    path = urlsplit(location).netloc + urlsplit(location).path if is_url(location) else location
    parts = [part for part in PurePosixPath(Path(path).as_posix()).parts if part not in ("/", "..")]
    return "/".join(part.replace(":", "") for part in parts)


def _with_digest(name: str, location: str) -> str:
    path = PurePosixPath(name)
    digest = hashlib.sha256(location.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return str(path.with_name(f"{path.stem}~{digest}{path.suffix}"))


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:  # with or without the mark of Windows' editors
            yield from (line.strip() for line in file if line.strip())
    except UnicodeDecodeError:
        raise ValueError(f"--input {path} is no UTF-8 text; expected a list with one image per line.") from None


def _rows(path: Path) -> Iterator[str]:
    """Paths of a table, some thousand rows in memory at a time."""
    arrow, parquet = optional_package("pyarrow"), optional_package("pyarrow.parquet")
    try:
        table = parquet.ParquetFile(path)
    except arrow.ArrowInvalid as error:
        raise ValueError(f"--input {path} is no Parquet file ({error}).") from error
    with table:
        names = table.schema_arrow.names
        column = next((name for name in _COLUMNS if name in names), None)
        if column is None:
            raise ValueError(
                f"--input {path} has no column with images; its columns are {listed(names)}, expected one of "
                f"{', '.join(_COLUMNS)}."
            )
        kind = table.schema_arrow.field(column).type
        if kind not in (arrow.string(), arrow.large_string()):
            raise ValueError(f"--input {path}: column {column!r} is of type {kind}; expected paths or URLs (string).")
        for batch in table.iter_batches(columns=[column]):
            yield from (entry for entry in batch.column(0).to_pylist() if entry)


def _images_at(url: str, recursive: bool) -> Iterator[tuple[str, str]]:
    """Images of an object store: one of this URL, or those in the folder of this URL."""
    fs = optional_package("pyarrow.fs")
    system, prefix = _system(url), urlsplit(url)
    root = _path_in_system(url)
    [info] = system.get_file_info([root])
    if info.type == fs.FileType.File:
        yield url, PurePosixPath(root).name
        return
    if info.type != fs.FileType.Directory:
        raise FileNotFoundError(f"--input {url}: there is neither an image nor a folder of this name.")
    for entry in sorted(system.get_file_info(fs.FileSelector(root, recursive=recursive)), key=lambda one: one.path):
        name = entry.path[len(root) :].lstrip("/")
        hidden = any(part.startswith(".") for part in name.split("/"))
        if entry.type == fs.FileType.File and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not hidden:
            yield prefix._replace(path=f"{prefix.path.rstrip('/')}/{name}").geturl(), name


def read_source(location: str) -> str | bytes:
    """What `data.images.image_pixels` takes: a path, or the content of a URL.

    Raises:
        OSError, ValueError: the URL cannot be read.
    """
    if not is_url(location):
        return location
    with _system(location).open_input_file(_path_in_system(location)) as file:
        return file.read()


def _path_in_system(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}".rstrip("/")


def _system(url: str) -> Any:
    """The file system of a URL; its options are in the URL's query (docs of Arrow's file systems)."""
    parts = urlsplit(url)
    return _system_of(parts._replace(path="/" if parts.scheme == "file" else "").geturl())


@lru_cache(maxsize=64)
def _system_of(root: str) -> Any:
    system, _ = optional_package("pyarrow.fs").FileSystem.from_uri(root)
    return system
