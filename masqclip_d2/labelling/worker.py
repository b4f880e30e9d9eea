"""One worker: a model, and shards one after the other; the next images are read while the model runs."""

from __future__ import annotations

import errno
import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from ..batch.inputs import InputImage
from ..batch.outputs import destinations
from ..data.images import image_pixels
from ..error_report import is_user_error, sentence
from ..files import atomic_folder
from ..predictor import Predictor
from ..results import Segmentation
from ..results.formats import Destination, ResultFormat, find_formats
from ..results.saving import collect_files, write_files
from ..vocabulary import Vocabulary
from .journal import TOO_MANY_DEATHS, Journal
from .shards import JOURNALS, SUMMARY, Failure, Shard, ShardSummary
from .sources import ImageSource, read_source

# What damaged, missing and odd images raise; other errors stop the run.
_IMAGE_ERRORS = (ValueError, OSError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Job:
    """What is done with every image.

    Args:
        output: folder of all shards.
        vocabulary, task: see `Predictor`.
        formats: names of `results.formats.FORMATS`.
        batch_size: images that share passes of the networks.
        confidence_threshold: see `Predictor`; None: 0, but instances are drawn from 0.3 on.
        settings: further arguments of `Predictor.batch`, such as `unknown_threshold`.
    """

    output: Path
    vocabulary: Vocabulary
    formats: tuple[str, ...]
    task: str = "panoptic"
    batch_size: int = 8
    confidence_threshold: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)


class Worker:
    """Labels shards; a callable for Ray Data, which makes one per process.

    Args:
        load_predictor: builds the model, at the first shard.
        job: what is done.
    """

    def __init__(self, load_predictor: Callable[[], Predictor], job: Job) -> None:
        self._load_predictor, self._job = load_predictor, job
        self._predictor: Predictor | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Label the shard `row["shard"]`, see `Shard.to_json`.

        Returns:
            Numbers of images; and an error that would meet all images: a sentence, of a bug its traceback.
        """
        shard = Shard.from_json(row["shard"])
        try:
            summary = self.label(shard)
        except Exception as error:
            is_bug = not is_user_error(error) and not isinstance(error, RuntimeError)
            text = traceback.format_exc() if is_bug else sentence(error)
            return {"done": 0, "failed": 0, "error": text, "is_bug": is_bug}
        return {"done": len(summary.done), "failed": len(summary.failed), "error": "", "is_bug": False}

    def label(self, shard: Shard) -> ShardSummary:
        """Write the folder of a shard, unless it is there already."""
        folder = self._job.output / shard.name
        if (folder / SUMMARY).is_file():  # its worker was killed before it could report
            return ShardSummary.load(folder)
        journal = Journal(self._job.output / JOURNALS / f"{shard.name}.jsonl")
        journal.require_progress()
        if self._predictor is None:
            predictor = self._load_predictor()
            predictor.prepare(self._job.vocabulary, **self._settings())
            self._predictor = predictor
        with atomic_folder(folder, replace=False) as temporary:
            summary = _ShardRun(self._predictor, self._job, self._settings(), shard, journal, temporary).write()
        journal.close()
        return summary

    def _settings(self) -> dict[str, Any]:
        threshold = self._job.confidence_threshold or 0.0
        return {"task": self._job.task, "confidence_threshold": threshold, **self._job.settings}


class _ShardRun:
    """The images of a shard on their way to its folder."""

    def __init__(
        self,
        predictor: Predictor,
        job: Job,
        settings: dict[str, Any],
        shard: Shard,
        journal: Journal,
        folder: Path,
    ) -> None:
        self._predictor, self._job, self._settings, self._journal = predictor, job, settings, journal
        self._images, self._folder = shard.images, folder
        self._summary = ShardSummary(shard.name)
        self._formats: list[ResultFormat] = find_formats(job.formats)
        self._destinations = _destinations(shard, folder, job.output / shard.name, self._formats)

    def write(self) -> ShardSummary:
        """Write the results of all images, the files of all images, and the summary."""
        entries = self._folder / "entries.jsonl"
        with entries.open("w", encoding="ascii") as file:
            for indices, images in self._read_ahead():
                for index, result in zip(indices, self._predict(images), strict=True):
                    if isinstance(result, str):
                        self._fail(index, result)
                    else:
                        self._write_result(index, result, file)
        for index in range(len(self._images)):
            if self._journal.is_left_out(index):
                self._fail(index, TOO_MANY_DEATHS)
        for _ in collect_files(self._folder, self._formats, self._job.vocabulary, lambda name: _entries(entries, name)):
            pass
        entries.unlink()
        self._summary.save(self._folder)
        return self._summary

    def _write_result(self, index: int, result: Segmentation, entries: TextIO) -> None:
        try:
            found = write_files(result, self._destinations[index], self._formats, self._job.confidence_threshold)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self._fail(index, "The name of this image is too long for the files of its result; shorten it.")
        else:
            self._summary.done.append(self._images[index].location)
            entries.write(f"{json.dumps(found)}\n")

    def _read_ahead(self) -> Iterator[tuple[list[int], list[Any]]]:
        """Batches of indices and pixels, or sentences about images that cannot be read; the next one is being read."""
        batches = self._journal.batches(len(self._images), self._job.batch_size)
        with ThreadPoolExecutor(1) as pool:
            ahead = None
            for position, indices in enumerate(batches):
                following = batches[position + 1] if position + 1 < len(batches) else []
                if following and (self._journal.is_suspect(indices[0]) or self._journal.is_suspect(following[0])):
                    following = []
                self._journal.take([*indices, *following])
                images = (ahead or pool.submit(self._read, indices)).result()
                ahead = pool.submit(self._read, following) if following else None
                yield indices, images

    def _read(self, indices: Sequence[int]) -> list[Any]:
        limit = self._predictor.cfg.INPUT.MAX_MEGAPIXELS
        return [_pixels(self._images[index], limit) for index in indices]

    def _predict(self, images: Sequence[Any]) -> list[Segmentation | str]:
        """Results, or sentences about images that failed."""
        good = [image for image in images if not isinstance(image, str)]
        results = iter(self._predict_pixels(good))
        return [image if isinstance(image, str) else next(results) for image in images]

    def _predict_pixels(self, images: Sequence[Any]) -> Sequence[Segmentation | str]:
        try:
            return self._predictor.batch(images, self._job.vocabulary, batch_size=len(images) or 1, **self._settings)
        except _IMAGE_ERRORS as error:
            if len(images) == 1:
                return [sentence(error)]
        return [result for image in images for result in self._predict_pixels([image])]

    def _fail(self, index: int, reason: str) -> None:
        self._summary.failed.append(Failure(self._images[index].location, reason))


def _pixels(image: ImageSource, max_megapixels: float) -> Any:
    if _is_no_text(image.location):
        return "The path of this image is no UTF-8 text, which results cannot hold; rename it."
    try:
        return image_pixels(read_source(image.location), max_megapixels)
    except _IMAGE_ERRORS as error:
        return sentence(error)


def _is_no_text(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _destinations(shard: Shard, folder: Path, final: Path, formats: Sequence[ResultFormat]) -> list[Destination]:
    images = [InputImage(Path(image.location), image.name) for image in shard.images]
    found = destinations(images, str(folder), formats)
    return [
        replace(one, final_folder=final, listed=(("image", image.location),))
        for one, image in zip(found, shard.images, strict=True)
    ]


def _entries(path: Path, format_name: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="ascii") as file:
        for line in file:
            yield json.loads(line)[format_name]
