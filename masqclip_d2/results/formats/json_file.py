"""The project's own JSON file: all segments with run-length encoded masks."""

from __future__ import annotations

from pathlib import Path

from ...files import save_json
from ..segmentation import Segmentation
from .result_format import Destination, ResultFormat


def json_path(destination: Destination) -> Path:
    """The JSON file of a result."""
    return destination.path(".json")


def _write(result: Segmentation, destination: Destination) -> None:
    save_json(json_path(destination), {**dict(destination.listed), **result.to_dict()}, indent=1)


JSON = ResultFormat(
    "json",
    "NAME.json: all segments with masks, scores and boxes",
    lambda one: [json_path(one)],
    _write,
    all_segments=True,
)
