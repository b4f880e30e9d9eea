"""Reads JSON files of users; whatever is wrong with one is a single sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

# Encodings of JSON files that are not in UTF-8, as editors and tools on Windows write them. The last decodes anything.
_OTHER_ENCODINGS = ("gb18030", "shift_jis", "cp1252", "latin-1")
_NAMES = {"gb18030": "GBK", "shift_jis": "Shift JIS", "cp1252": "Windows-1252", "latin-1": "Latin-1"}


def read_json(path: str | os.PathLike) -> Any:
    """Parse a JSON file in UTF-8, UTF-16 or UTF-32, with or without byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file, empty, in another encoding, no JSON, or an object has a key twice.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if not path.is_file():  # a pipe would block
        raise ValueError(f"{path} is no regular file.")
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path} is empty; create or download it again.")
    try:
        # As json.loads does, which refuses a byte order mark in text only.
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in UTF-8 (byte 0x{content[error.start]:02x} at position {error.start}), "
            f"{_probable_encoding(content)}."
        ) from None
    try:
        return json.loads(text, object_pairs_hook=without_repeats)
    except RecursionError:
        raise ValueError(f"{path} cannot be read: it is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged or truncated ({error}); create or download it again.") from None


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError if it has a key twice, of which a reader would silently drop one."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it has the key {next(key for key in keys if keys.count(key) > 1)!r:.60} twice")
    return content


def _probable_encoding(content: bytes) -> str:
    for encoding in _OTHER_ENCODINGS:
        try:
            json.loads(content.decode(encoding))
        except (ValueError, RecursionError):
            continue
        return f"but probably in {_NAMES[encoding]}; save it as UTF-8"
    return "nor JSON in another encoding; create or download it again"
