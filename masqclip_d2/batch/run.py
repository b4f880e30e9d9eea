"""Image files -> files of results, with a line about each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..error_report import error_report
from ..predictor import Predictor
from ..results import Segmentation
from ..vocabulary import Vocabulary
from .inputs import listed
from .outputs import write_result


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
        ValueError: the vocabulary or a setting does not fit the model; or after all images, if some of them failed,
            whose errors are printed to stderr as they occur.
    """
    settings = {"task": task, "confidence_threshold": confidence_threshold or 0.0, **settings}
    predictor.prepare(vocabulary, **settings)  # an error that all images would have is one
    failures = []
    for path, target in zip(inputs, targets, strict=True):
        try:
            result = predictor(path, vocabulary, **settings)
            write_result(result, path, target, confidence_threshold)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            failures.append(path)
            print(error_report(error, str(path)), end="", file=sys.stderr)
        else:
            print(f"{target}: {_summary(result, confidence_threshold)}")
    if failures:
        if len(failures) == len(inputs):
            raise ValueError("No image was segmented; see the errors above.")
        names = listed([str(path) for path in failures])
        raise ValueError(f"{len(failures)} of {len(inputs)} images failed: {names}. The others are done.")


def _summary(result: Segmentation, min_score: float | None) -> str:
    """One line: the categories found, or those that were looked for, and what background prompts won."""
    drawn = result.drawn_segments(min_score)
    labels = ", ".join(dict.fromkeys(segment.label for segment in drawn))
    if drawn:
        found = f"{len(drawn)} segments ({labels})"
    else:
        found = f"0 segments (none of {listed(result.vocabulary.names)} was found)"
    if len(drawn) < len(result.segments):
        more = "more " if drawn else ""
        found += f"; {len(result.segments) - len(drawn)} {more}with lower scores are in the JSON file only"
    if result.rejected:
        by_area = sorted(result.rejected, key=lambda region: -region.area)
        found += f"; without a label: {listed(list(dict.fromkeys(region.prompt for region in by_area)))}"
    return found
