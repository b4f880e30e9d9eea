"""sha256 of stored files, recorded beside them at first use and compared afterwards.

`model.pth.record.json` holds source, size, mtime_ns and sha256 of `model.pth`. The sha256 of a file with the recorded
size and time of modification is computed again only if a thorough check is requested.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

from ..files import save_text
from .content import content_problem

_CHUNK = 1 << 20  # bytes


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def record_path(path: Path) -> Path:
    """The file that holds the record of `path`."""
    return path.with_name(f"{path.name}.record.json")


def write_record(path: Path, source: str, sha256: str) -> bool:
    """Write the record of a file; returns whether its folder is writable."""
    status = path.stat()
    content = {"source": source, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
    try:
        save_text(record_path(path), json.dumps(content, indent=1) + "\n")
    except OSError:
        return False
    return True


def read_record(path: Path) -> dict:
    """The record of a file; {} if there is none that can be read."""
    try:
        record = json.loads(record_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("sha256"), str) else {}


def check_stored(path: Path, source: str, sha256: str = "", thorough: bool = False) -> None:
    """Check a stored file against what is known about it, and record its sha256 at first use.

    Args:
        path: the file.
        source: where it came from, for the record and messages.
        sha256: digits that its sha256 must begin with; "": only what was recorded is known.
        thorough: compute the sha256 even if size and time are as recorded, or nothing is known to compare it with.

    Raises:
        ValueError: the file is another one, or it was changed, or is no weights. It is left as it is.
    """
    record, status = read_record(path), path.stat()
    unchanged = (record.get("size"), record.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    if unchanged and not thorough and record["sha256"].startswith(sha256):
        return
    again = f"`masqclip download --again {source}` replaces it"
    if not record and not sha256 and (problem := content_problem(path)):
        raise ValueError(f"{path} is not usable: {problem}. {again}.")
    if not (record or sha256 or thorough or os.access(path.parent, os.W_OK)):
        return  # nothing to compare with, and no place to record it
    digest = sha256_of(path)
    if not digest.startswith(sha256):
        raise ValueError(f"{path} is damaged or another file: its sha256 is {digest}, expected {sha256}. {again}.")
    if record and digest != record["sha256"]:
        raise ValueError(
            f"{path} was changed since it was stored: its sha256 is {digest}, not {record['sha256']}. {again}; "
            f"to keep it, remove {record_path(path)}."
        )
    if write_record(path, source, digest) and not record and not sha256:
        say_recorded(path, digest)


def say_recorded(path: Path, digest: str) -> None:
    """Print, in one line, that nothing was known to compare a file with."""
    print(f"{path}: sha256 {digest} recorded; none is published to compare it with.", file=sys.stderr)
