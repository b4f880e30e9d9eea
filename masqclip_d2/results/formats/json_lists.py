"""JSON files of long lists, as COCO's are: written entry by entry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ...files import atomic_write


def save_json_lists(path: Path, header: Mapping[str, Any], lists: Mapping[str, Callable[[], Iterable[Any]]]) -> None:
    """Write a JSON object atomically, with one entry of its lists in memory at a time.

    Args:
        path: the file.
        header: first keys of the object; at least one.
        lists: further keys, with functions that yield the entries of their lists.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header)[:-1])
        for key, entries in lists.items():
            file.write(f",\n{json.dumps(key)}: [")
            for number, entry in enumerate(entries()):
                file.write((",\n" if number else "\n") + json.dumps(entry))
            file.write("]")
        file.write("}\n")
