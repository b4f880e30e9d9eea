"""Download one file: resumed after interruptions, checked, shared by processes, complete or absent.

A download goes to `NAME.partial`, with what the server states about it in `NAME.partial.json`, so that a later process
continues it. Only a file that passed all checks gets its name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..files import save_text
from .content import content_problem
from .http import Answer, Facts, Interrupted, PlaceError, open_place
from .places import Place, cache_dir
from .records import record_path, say_recorded, sha256_of, write_record

WAITS = (1.0, 2.0, 4.0)  # seconds before a connection that ended is tried again without new data
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SPARE = 1 << 20  # bytes of free space beyond the file itself


class StorageError(FileNotFoundError):
    """The file cannot be stored on this disk, whichever server has it."""


def download(place: Place, again: bool = False) -> Path:
    """Download the file of a place to `place.path`, unless another process has done so meanwhile.

    Args:
        place: server, file and path.
        again: download it although it is there; the old file stays until the new one is complete and checked.

    Raises:
        PlaceError: the server does not deliver the file, or another one.
        StorageError: no space is left, or the folder is not writable.
    """
    path = place.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            if again or not path.is_file():
                _download(place, path)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(_storage_reason(path, error)) from error
    return path


def _download(place: Place, path: Path) -> None:
    """All connections that it takes, the checks, and the final name."""
    partial = path.with_name(f"{path.name}.partial")
    waits, furthest = list(WAITS), -1
    while True:
        try:
            facts, resumed = _receive(place, path, partial)
        except PlaceError as error:
            connected_before = furthest >= 0
            if not waits or not (isinstance(error, Interrupted) or (error.unreachable and connected_before)):
                raise
            reached = _size(partial)
            if reached > furthest:
                waits, furthest = list(WAITS), reached
            time.sleep(waits.pop(0))
            continue
        problem, digest = _problem(place, partial, path.suffix, facts)
        if not problem:
            break
        _discard(partial)
        if not resumed:
            raise PlaceError(problem)
    with partial.open("r+b") as file:
        os.fsync(file.fileno())
    record_path(path).unlink(missing_ok=True)
    os.replace(partial, path)
    _facts_path(partial).unlink(missing_ok=True)
    write_record(path, place.source, digest)
    if not place.sha256 and not facts.sha256:
        say_recorded(path, digest)


def _receive(place: Place, path: Path, partial: Path) -> tuple[Facts, bool]:
    """Complete the partial file over one connection; return the server's facts and whether data was there before."""
    known = _read_facts(partial, place)
    present = _size(partial) if known else 0
    if known and known.size is not None and present == known.size:
        return known, True
    answer = _open(place, present, known)
    with answer:
        start = answer.start
        if start and (start != present or not _same(answer.facts, known)):
            _discard(partial)
            raise Interrupted("the file on the server has changed")
        _require_space(path, answer, start)
        save_text(_facts_path(partial), json.dumps({"url": place.url, **answer.facts._asdict()}))
        with partial.open("r+b" if start else "wb", buffering=0) as file:
            file.seek(start)
            for chunk in _with_progress(answer, place, path):
                file.write(chunk)
    return answer.facts, start > 0


def _open(place: Place, present: int, known: Facts | None) -> Answer:
    """Open the connection at byte `present`, or at the beginning if the server refuses that (HTTP 416)."""
    if not present or known is None:
        return open_place(place)
    try:
        return open_place(place, present, known.etag)
    except PlaceError as error:
        if error.unreachable or "HTTP 416" not in str(error):
            raise
        return open_place(place)


def _same(now: Facts, known: Facts | None) -> bool:
    """Whether two answers are about the same file."""
    if known is None or now.etag != known.etag:
        return False
    return now.size == known.size or (known.size is None and bool(known.etag))


def _problem(place: Place, partial: Path, suffix: str, facts: Facts) -> tuple[str, str]:
    """(What is wrong with a complete download, or "", its sha256)."""
    digest = sha256_of(partial)
    size = _size(partial)
    if facts.size is not None and size != facts.size:
        return f"{size} bytes arrived, the server announced {facts.size}", digest
    if problem := content_problem(partial, suffix):
        return f"of what arrived: {problem}", digest
    for expected in (place.sha256, facts.sha256):
        if not digest.startswith(expected):
            return f"the download is damaged or another file: its sha256 is {digest}, expected {expected}", digest
    return "", digest


def _with_progress(answer: Answer, place: Place, path: Path) -> Iterator[bytes]:
    """The chunks of an answer, with a progress bar on a terminal and one line elsewhere."""
    from tqdm import tqdm

    size, on_terminal = answer.facts.size, sys.stderr.isatty()
    if not on_terminal:
        amount = "size unknown" if size is None else format_size(size)
        rest = f", continued at {format_size(answer.start)}" if answer.start else ""
        print(f"Downloading {path.name} ({amount}{rest}) from {place.host} to {path.parent}", file=sys.stderr)
    with tqdm(
        total=size, initial=answer.start, unit="B", unit_scale=True, desc=path.name, disable=not on_terminal
    ) as bar:
        for chunk in answer.chunks():
            yield chunk
            bar.update(len(chunk))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time download `path`; on file systems without locks each goes ahead."""
    from filelock import FileLock, Timeout

    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
    folder = cache_dir() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / f"{name}.lock"), mode=0o664)  # a group may share the cache
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print(f"Waiting for another process that downloads {path.name}", file=sys.stderr)
        lock.acquire()
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _require_space(path: Path, answer: Answer, start: int) -> None:
    if answer.facts.size is None:
        return
    needed, free = answer.facts.size - start + _SPARE, shutil.disk_usage(path.parent).free
    if free < needed:
        raise StorageError(
            f"{path.name} needs {format_size(needed)}, but only {format_size(free)} are free in {path.parent}; make "
            "space, or set MASQCLIP_CACHE to a folder on another disk"
        )


def _storage_reason(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        return f"no space is left in {path.parent}; make space, or set MASQCLIP_CACHE to a folder on another disk"
    return f"{path.parent} is not writable ({error.strerror or error}); set MASQCLIP_CACHE to a folder that is"


def _read_facts(partial: Path, place: Place) -> Facts | None:
    """What the server stated about a partial file; None if there is none, or it is from elsewhere."""
    try:
        content = json.loads(_facts_path(partial).read_text(encoding="utf-8"))
        return Facts(content["size"], content["etag"], content["sha256"]) if content["url"] == place.url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _facts_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _facts_path(partial).unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def format_size(size: int) -> str:
    """A number of bytes as "890.0 MB"; units are powers of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.{2 if unit == 'GB' else 1}f} {unit}"
    return f"{size} bytes"
