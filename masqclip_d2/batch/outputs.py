"""Where results are written: one visualization, label map and JSON file per image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..data.registration.image_folders import IMAGE_SUFFIXES
from ..files import FAST_PNG, expand_home, save_image, save_json
from ..results import Segmentation
from .inputs import listed


def target_paths(inputs: Sequence[Path], output: str) -> list[Path]:
    """Output file per input: `output` itself if it has an image's suffix, else a file in that folder.

    Raises:
        ValueError: two inputs have the same name, several inputs have one output file, or an input would be
            overwritten.
    """
    folder = expand_home(output)
    if folder.suffix.lower() in IMAGE_SUFFIXES:
        if len(inputs) > 1:
            raise ValueError(f"--output {output} is one file, but there are {len(inputs)} inputs; pass a folder.")
        targets = [folder]
    else:
        targets = [folder / f"{path.stem}.png" for path in inputs]
    written = [*targets, *map(label_map_path, targets)]
    sources = {path.expanduser().resolve() for path in inputs}
    overwritten = [str(target) for target in written if target.resolve() in sources]
    if overwritten:
        raise ValueError(f"The output would overwrite the input {listed(overwritten)}; pass another --output.")
    duplicates = sorted({target.name for target in written if written.count(target) > 1})
    if duplicates:
        raise ValueError(
            f"Several inputs would be written to {', '.join(duplicates)} in {output}; run them one at a time."
        )
    return targets


def create_folders(targets: Sequence[Path]) -> None:
    """Create the folders of output files.

    Raises:
        ValueError: a folder cannot be created or written.
    """
    for folder in {target.parent for target in targets}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"The output folder {folder} cannot be created: {error.strerror}.") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"The output folder {folder} is not writable.")


def label_map_path(target: Path) -> Path:
    """Where the label map of the output file `target` is written."""
    return target.with_name(f"{target.stem}_labels.png")


def write_result(result: Segmentation, path: Path, target: Path, min_score: float | None = None) -> None:
    """Write the visualization of segments from `min_score` on, the label map, and all segments as JSON, atomically.

    Args:
        result: of the image `path`.
        target: the visualization; the other files stand next to it.
        min_score: see `Segmentation.drawn_segments`.
    """
    shown = replace(result, segments=result.drawn_segments(min_score))
    save_image(target, shown.draw(0.0), compress_level=FAST_PNG)
    save_image(label_map_path(target), shown.label_image(), compress_level=FAST_PNG)
    files = {"image": str(path), "visualization": str(target), "label_map": str(label_map_path(target))}
    save_json(target.with_suffix(".json"), {**files, **result.to_dict()}, indent=1)
