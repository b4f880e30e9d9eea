"""Image files -> visualizations, label maps and JSON, as `masqclip demo` writes them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .data.images import FAST_PNG
from .data.registration.image_folders import IMAGE_SUFFIXES
from .error_report import error_report
from .files import expand_home, save_image, save_json
from .predictor import Predictor
from .segmentation import Segmentation
from .vocabulary import Vocabulary

_MAX_NAMES = 10  # in a list of names in the line about an image

SAMPLES = Path(__file__).resolve().parent / "shapes" / "samples"
"""Folder of images in the categories of Shapes."""


def segment_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    targets: Sequence[Path],
    vocabulary: Vocabulary,
    task: str = "panoptic",
    confidence_threshold: float | None = None,
    **settings: Any,
) -> None:
    """Segment each image and print a line about it; a file that cannot be read does not stop the others.

    Args:
        predictor: the model.
        inputs: image files.
        targets: output file of each input, see `write_result`.
        vocabulary, task: see `Predictor`.
        confidence_threshold: see `Predictor`; None: 0, but instances are drawn from 0.3 on.
        settings: further arguments of `Predictor.__call__`, such as `unknown_threshold`.

    Raises:
        ValueError: after all images, if some of them failed; the errors are printed to stderr as they occur.
    """
    failures = []
    for path, target in zip(inputs, targets, strict=True):
        try:
            result = predictor(
                path, vocabulary, task=task, confidence_threshold=confidence_threshold or 0.0, **settings
            )
            write_result(result, path, target, confidence_threshold)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            failures.append(path)
            print(error_report(error, str(path)), end="", file=sys.stderr)
        else:
            print(f"{target}: {_summary(result, confidence_threshold)}")
    if failures:
        if len(failures) == len(inputs):
            raise ValueError("No image was segmented; see the errors above.")
        names = _listed([str(path) for path in failures])
        raise ValueError(f"{len(failures)} of {len(inputs)} images failed: {names}. The others are done.")


def _summary(result: Segmentation, min_score: float | None) -> str:
    """One line: the categories found, or those that were looked for, and what background prompts won."""
    drawn = result.drawn_segments(min_score)
    labels = ", ".join(dict.fromkeys(segment.label for segment in drawn))
    if drawn:
        found = f"{len(drawn)} segments ({labels})"
    else:
        found = f"0 segments (none of {_listed(result.vocabulary.names)} was found)"
    if len(drawn) < len(result.segments):
        more = "more " if drawn else ""
        found += f"; {len(result.segments) - len(drawn)} {more}with lower scores are in the JSON file only"
    if result.rejected:
        by_area = sorted(result.rejected, key=lambda region: -region.area)
        found += f"; without a label: {_listed(list(dict.fromkeys(region.prompt for region in by_area)))}"
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"{', '.join(names[:_MAX_NAMES])}{more}"


def find_images(patterns: Sequence[str]) -> list[Path]:
    """Expand files, folders (their images, sorted) and globs; a missing file is kept if another one exists.

    Raises:
        FileNotFoundError: a folder or a glob has no image, or none of the files exists.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = expand_home(pattern)
        if path.is_dir():
            matches = sorted(file for file in path.iterdir() if _is_image(file))
        elif glob.has_magic(pattern) and not path.exists():
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]
        else:
            matches = [path]
        if not matches:
            raise FileNotFoundError(f"No images match --input {pattern!r}.")
        found += matches
    if not any(path.exists() for path in found):
        raise FileNotFoundError(f"There is no image {_listed([str(path) for path in found])}.")
    return found


def _is_image(file: Path) -> bool:
    """Hidden files are left out, among them the "._photo.jpg" that macOS writes beside a photo."""
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and not file.is_dir()


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
        raise ValueError(f"The output would overwrite the input {_listed(overwritten)}; pass another --output.")
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
