"""Manifest of a prepared dataset folder: the state, unfinished or finished, of each output of the preparation.

Outputs are identified by their path below the folder. Files that no manifest lists are never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..files import save_json

MANIFEST = "masqclip_prepared.json"
UNFINISHED = "unfinished"
FINISHED = "finished"

_NAME = "masqclip_d2 preparation"
_MAX_OUTPUT_DEPTH = 3  # levels below the folder of the manifest


def read_states(folder: Path) -> dict[str, str]:
    """Return {output: UNFINISHED or FINISHED}; empty if the folder has no manifest.

    Raises:
        ValueError: the file is not a manifest of the preparation.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("name") != _NAME:
        raise ValueError(f"{path} is damaged or was not written by the preparation; move it away.")
    return content["outputs"]


def set_state(folder: Path, outputs: Iterable[str], state: str) -> None:
    """Record the state of outputs in the manifest of a folder."""
    states = {**read_states(folder), **dict.fromkeys(outputs, state)}
    save_json(folder / MANIFEST, {"name": _NAME, "outputs": states})


def is_unfinished(path: Path) -> bool:
    """Return whether the preparation of this file or folder was started and not finished."""
    for folder in list(path.parents)[:_MAX_OUTPUT_DEPTH]:
        if (folder / MANIFEST).is_file():
            return read_states(folder).get(path.relative_to(folder).as_posix()) == UNFINISHED
    return False
