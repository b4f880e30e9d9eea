"""Image files -> files of results, with a line about each."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from ..error_report import error_report
from ..predictor import Predictor
from ..results import Segmentation
from ..results.formats import Destination
from ..results.saving import collect_files, write_files
from ..vocabulary import Vocabulary
from .inputs import InputImage, listed
from .plan import Batch
from .progress import Progress


def segment_files(
    predictor: Predictor,
    batch: Batch,
    vocabulary: Vocabulary,
    task: str = "panoptic",
    confidence_threshold: float | None = None,
    **settings: Any,
) -> None:
    """Segment the images without results and print a line about each; one that fails does not stop the others.

    The files of all images, such as coco.json, are written at the end and contain earlier results of the record.

    Args:
        predictor: the model.
        batch: images, and where their results are written.
        vocabulary, task: see `Predictor`.
        confidence_threshold: see `Predictor`; None: 0, but instances are drawn from 0.3 on.
        settings: further arguments of `Predictor.__call__`, such as `unknown_threshold`.

    Raises:
        ValueError: the vocabulary or a setting does not fit the model; or after all images, if some of them failed,
            whose errors are printed to stderr as they occur.
    """
    settings = {"task": task, "confidence_threshold": confidence_threshold or 0.0, **settings}
    predictor.prepare(vocabulary, **settings)  # an error that all images would have is one
    missing = batch.missing()
    if len(missing) < len(batch.inputs):
        print(f"{len(batch.inputs) - len(missing)} of {len(batch.inputs)} images have results already.")
    failures = []
    with Progress(len(missing)) as progress:
        for image, destination in missing:
            try:
                result = predictor(image.path, vocabulary, **settings)
                _write(result, image, destination, batch, confidence_threshold)
            except (ValueError, OSError, RuntimeError, MemoryError) as error:
                failures.append(image.path)
                progress.clear()
                print(error_report(error, str(image.path)), end="", file=sys.stderr)
            except KeyboardInterrupt:
                progress.clear()
                _print_interrupted(batch)
                raise
            else:
                progress.clear()
                target = next(iter(batch.files(destination)), image.path)
                print(f"{target}: {_summary(result, confidence_threshold, batch)}")
            progress.advance()
    if len(failures) == len(batch.inputs):
        raise ValueError("No image was segmented; see the errors above.")
    _write_collected(batch, vocabulary)
    if failures:
        names = listed([str(path) for path in failures])
        raise ValueError(f"{len(failures)} of {len(batch.inputs)} images failed: {names}. The others are done.")


def _write(
    result: Segmentation, image: InputImage, destination: Destination, batch: Batch, min_score: float | None
) -> None:
    """Write the files of segments from `min_score` on, and of all segments as JSON."""
    listed_image = replace(destination, listed=(("image", str(image.path)),))
    entries = write_files(result, listed_image, batch.formats, min_score)
    if batch.record is not None:
        batch.record.add(image, destination, entries)


def _write_collected(batch: Batch, vocabulary: Vocabulary) -> None:
    record = batch.record
    if record is None:
        return
    folder = batch.destinations[0].folder
    for path in collect_files(folder, batch.formats, vocabulary, lambda name: record.entries(name, batch.destinations)):
        print(f"{path}: {record.num_finished(batch.destinations)} images")


def _print_interrupted(batch: Batch) -> None:
    if batch.record is not None:
        done = batch.record.num_finished(batch.destinations)
        print(
            f"{done} of {len(batch.inputs)} images are finished; --resume continues with the others.", file=sys.stderr
        )


def _summary(result: Segmentation, min_score: float | None, batch: Batch) -> str:
    """One line: the categories found, or those that were looked for, and what background prompts won."""
    drawn = result.drawn_segments(min_score)
    labels = ", ".join(dict.fromkeys(segment.label for segment in drawn))
    if drawn:
        found = f"{len(drawn)} segments ({labels})"
    else:
        found = f"0 segments (none of {listed(result.vocabulary.names)} was found)"
    if len(drawn) < len(result.segments):
        more = "more " if drawn else ""
        where = "in the JSON file only" if any(one.all_segments for one in batch.formats) else "left out"
        found += f"; {len(result.segments) - len(drawn)} {more}with lower scores are {where}"
    if result.rejected:
        by_area = sorted(result.rejected, key=lambda region: -region.area)
        found += f"; without a label: {listed(list(dict.fromkeys(region.prompt for region in by_area)))}"
    return found
