"""Recognize files that are no weights, or not all of them, from their first and last bytes."""

from __future__ import annotations

import json
from pathlib import Path

from ..files import zip_entries

_HEAD = 512  # bytes
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
_LFS_POINTER = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_MAX_HEADER = 100_000_000  # bytes of JSON, as the safetensors format limits it
_TRUNCATED = "it is truncated"


def is_page(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a web page."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES)


def content_problem(path: Path, suffix: str | None = None) -> str:
    """Return what is wrong with a file of weights, as a clause ("it is ..."), or "" if nothing is found.

    Args:
        path: the file.
        suffix: of the format (".safetensors"); None: that of `path`.
    """
    suffix = path.suffix if suffix is None else suffix
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return "it is empty"
    if is_page(head):
        return "it is a web page (HTML), not the file"
    if head.startswith(_LFS_POINTER):
        return "it is a pointer of Git LFS, not the file itself"
    if suffix == ".safetensors":
        return _safetensors_problem(path)
    if head.startswith(_ZIP):  # PyTorch's format; its directory is at the end
        return "" if _is_zip(path) else _TRUNCATED
    if suffix == ".pkl" and _last_byte(path) != b".":  # the opcode that ends every pickle
        return "it is truncated or no pickle"
    return ""


def _is_zip(path: Path) -> bool:
    try:
        return zip_entries(path) is not None
    except ValueError:
        return False


def _safetensors_problem(path: Path) -> str:
    """Compare the size of the file with the one that its header states."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER:
            return "it is not in the format safetensors"
        if 8 + length > size:
            return _TRUNCATED
        header = file.read(length)
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "it is not in the format safetensors"
    return "" if 8 + length + max(ends, default=0) == size else _TRUNCATED


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1)
