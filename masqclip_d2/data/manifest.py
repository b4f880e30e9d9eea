"""What the preparation made: one manifest per dataset folder, which says of each output whether it is finished.

Outputs are named by their path below the folder. What stands in no manifest was not made here and is never overwritten.
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
_DEEPEST_OUTPUT = 3  # levels below the folder of the manifest


def read_states(folder: Path) -> dict[str, str]:
    """{output: UNFINISHED or FINISHED}; empty if nothing was made in this folder.

    Raises:
        ValueError: there is a file of that name that is none of ours.
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
    """Record the state of some outputs."""
    states = {**read_states(folder), **dict.fromkeys(outputs, state)}
    save_json(folder / MANIFEST, {"name": _NAME, "outputs": states})


def is_unfinished(path: Path) -> bool:
    """Whether the preparation of this folder or file was begun, and broken off."""
    for folder in list(path.parents)[:_DEEPEST_OUTPUT]:
        if (folder / MANIFEST).is_file():
            return read_states(folder).get(path.relative_to(folder).as_posix()) == UNFINISHED
    return False
