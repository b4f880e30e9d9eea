"""Looks at the image and label files of records with the readers of training and evaluation, before a run uses them.

Registration, `check-data` and the start of a run share these checks, so that they agree: each file is read as a run
reads it, and the label maps together are looked at for values that cannot have been meant.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from numpy.typing import NDArray

from ..image_files import MAX_MEGAPIXELS, image_size
from .ground_truth import instance_masks
from .images import read_image, require_recorded_size
from .label_maps import IGNORE_LABEL, LabelledImage, present_labels, read_semantic_labels
from .panoptic_labels import LeftOut, read_panoptic_labels

GROUND_TRUTH_KEYS = ("sem_seg_file_name", "pan_seg_file_name", "annotations")
"""Keys of a record with ground truth that can be looked at."""

NUM_SAMPLES = 64
"""Images looked at before a run, evenly spread: a fault of an export or a preparation usually affects all files."""

_FILES = ("file_name", "sem_seg_file_name", "pan_seg_file_name")
_MAX_THREADS = 16  # decoding of images runs outside of Python's lock
_BATCH = 1024  # files that wait for a thread
_MIN_THIN = 5  # values that occur at edges only, before they are remarked upon
_MAX_LISTED = 3  # files or categories in a message

Record = dict[str, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelFacts:
    """What the files of a dataset are compared with.

    Args:
        names: of its categories, by contiguous id.
        ignore_label: of pixels without a category in label maps.
        ignores_by_default: nobody chose the ignore label, so that it may stand where a category was meant.
    """

    names: tuple[str, ...] = ()
    ignore_label: int = IGNORE_LABEL
    ignores_by_default: bool = False

    @classmethod
    def of(cls, dataset_name: str) -> LabelFacts:
        """The facts in a dataset's metadata."""
        metadata = MetadataCatalog.get(dataset_name)
        return cls(
            tuple(getattr(metadata, "stuff_classes", None) or getattr(metadata, "thing_classes", None) or ()),
            int(getattr(metadata, "ignore_label", IGNORE_LABEL)),
            bool(getattr(metadata, "ignores_by_default", False)),
        )


@dataclass
class Survey:
    """What was seen in the files of some images of a dataset.

    Args:
        total: number of images of the dataset.
        looked_at: number of images whose files were read.
        errors: one message per image that cannot be used.
        categories: contiguous ids in the ground truth, crowds left out.
        label_maps: number of semantic label maps read.
        labels: values in them.
        solid: those that fill a square of 3 x 3 pixels somewhere.
        left_out: segments of panoptic PNGs.
    """

    total: int
    looked_at: int = 0
    errors: list[str] = field(default_factory=list)
    categories: set[int] = field(default_factory=set)
    label_maps: int = 0
    labels: set[int] = field(default_factory=set)
    solid: set[int] = field(default_factory=set)
    left_out: LeftOut = field(default_factory=LeftOut)

    def merge(self, other: Survey) -> None:
        self.looked_at += other.looked_at
        self.errors += other.errors
        self.categories |= other.categories
        self.label_maps += other.label_maps
        self.labels |= other.labels
        self.solid |= other.solid
        self.left_out.merge(other.left_out)

    @property
    def is_complete(self) -> bool:
        return self.looked_at == self.total

    def extent(self) -> str:
        """How much of the dataset was seen."""
        return f"all {self.total} images" if self.is_complete else f"{self.looked_at} of {self.total} images"

    def fault(self, facts: LabelFacts) -> str:
        """Why no run can use these files; "" if one can."""
        if self.errors:
            others = len(self.errors) - 1
            more = f" {others} more of the {self.looked_at} images read cannot be used." if others else ""
            return self.errors[0] + more
        if not self.label_maps:
            return ""
        known = self.labels - {facts.ignore_label}
        if not known:
            return (
                f"no pixel in the label maps of {self.extent()} has a category: all are {facts.ignore_label}, which "
                f"means none. Write category ids (0..{len(facts.names) - 1}) in its place."
            )
        if facts.ignores_by_default and len(facts.names) == 2 and len(known) == 1 and len(self.labels) == 2:
            absent = 1 - min(known)
            return (
                f"the label maps of {self.extent()} hold {min(known)} and {facts.ignore_label} only, and "
                f"{facts.ignore_label} means no category, so that {facts.names[absent]!r} never occurs. Write {absent} "
                f"in its place (labels[labels == {facts.ignore_label}] = {absent}), or register with "
                f"ignore_label={facts.ignore_label} if no category is meant."
            )
        return ""

    def remarks(self, facts: LabelFacts) -> list[str]:
        """What a run can use, but may not have been meant."""
        found = [self.left_out.sentence()]
        names = facts.names
        absent = [names[i] for i in range(len(names)) if i not in self.categories] if self.categories else []
        if self.label_maps and len(self.categories) == 1 < len(names):
            found.append(
                f"the only category in the label maps of {self.extent()} is {names[min(self.categories)]!r}, of "
                f"{len(names)}; look at their values"
            )
        elif absent and self.is_complete:
            shown = ", ".join(absent[:_MAX_LISTED]) + (", ..." if len(absent) > _MAX_LISTED else "")
            found.append(f"{len(absent)} of {len(names)} categories never occur in the ground truth: {shown}")
        thin = sorted(self.labels - self.solid - {facts.ignore_label})
        if len(thin) >= _MIN_THIN and len(thin) > len(self.labels) / 2:
            examples = ", ".join(map(str, thin[:_MAX_LISTED]))
            found.append(
                f"{len(thin)} of the {len(self.labels)} values in the label maps are nowhere wider than two pixels, "
                f"such as {examples}: the maps may have been stored as JPEG once, or resized with interpolation, which "
                "invents values at edges; write them from their source"
            )
        return [remark for remark in found if remark]


def survey(
    records: Sequence[Record],
    facts: LabelFacts,
    keys: Collection[str],
    number: int | None = NUM_SAMPLES,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    decode: bool = True,
    progress: str = "",
) -> Survey:
    """Read the files of some records, in parallel threads.

    Args:
        records: of a dataset.
        facts: of the dataset.
        keys: which of `GROUND_TRUTH_KEYS` to read.
        number: how many, evenly spread; more are read if none of these label maps has a category. None: all.
        max_megapixels: limit of image files.
        decode: decode the images; False: only their sizes are read.
        progress: title of a progress bar on stderr; "": none.
    """
    from tqdm import tqdm

    chosen = records if number is None else evenly_spread(records, number)
    found = Survey(len(records))
    look = partial(_look_at, facts=facts, keys=keys, max_megapixels=max_megapixels, decode=decode)
    with tqdm(total=len(chosen), desc=progress, unit="image", disable=not progress) as bar:
        for one in _in_threads(look, chosen):
            found.merge(one)
            bar.update()
    if found.label_maps and not found.errors and not found.labels - {facts.ignore_label}:
        _look_for_a_label(found, records, facts)
    return found


def evenly_spread(records: Sequence[Record], number: int = NUM_SAMPLES) -> list[Record]:
    """Some records, with the first and the last."""
    positions = np.linspace(0, len(records) - 1, min(len(records), number)).round().astype(int)
    return [records[position] for position in positions]


def require_files(records: Sequence[Record], keys: Collection[str] = _FILES) -> int:
    """The number of files that records name under some of the keys; they are listed, not opened.

    Raises:
        FileNotFoundError: a file is missing.
    """
    listings: dict[str, set[str]] = {}
    number = 0
    missing: list[str] = []
    for path in (record[key] for record in records for key in _FILES if key in keys and key in record):
        folder, file_name = os.path.split(path)
        if folder not in listings:
            listings[folder] = set(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else set()
        number += 1
        if file_name not in listings[folder]:
            missing.append(path)
    if missing:
        raise FileNotFoundError(f"{len(missing)} of {number} files are missing, the first being {missing[0]}.")
    return number


def require_objects(dataset_names: Sequence[str], records: Sequence[Record], keys: Collection[str]) -> None:
    """Raise ValueError if instances or segments are read, and all are crowds or there are none.

    Args:
        dataset_names: of the training; their records are joined.
        records: of these datasets.
        keys: which of `GROUND_TRUTH_KEYS` are read.
    """
    lists = {"annotations": "annotations", "pan_seg_file_name": "segments_info"}
    read = [lists[key] for key in keys if key in lists]
    rows = (row for record in records for key in read for row in record.get(key, ()))
    if read and all(key in record for record in records for key in read) and all(row.get("iscrowd", 0) for row in rows):
        raise ValueError(
            f"Dataset {', '.join(dataset_names)} has no object to learn from: no annotation has a usable mask, or all "
            "are crowds ('iscrowd': 1). masqclip check-data lists what is left out."
        )


def check_before_run(
    dataset_names: Sequence[str],
    records: Sequence[Record],
    keys: Collection[str],
    max_megapixels: float = MAX_MEGAPIXELS,
) -> None:
    """Look at the files of a run before it starts: that all exist, and what some of them hold.

    Args:
        dataset_names: of the run; their records are joined.
        records: of these datasets.
        keys: which of `GROUND_TRUTH_KEYS` the run reads.
        max_megapixels: see `survey`.

    Raises:
        FileNotFoundError, ValueError: a file is missing, or cannot be used. Remarks are logged as warnings.
    """
    require_files(records, {"file_name", *keys})
    facts = max(map(LabelFacts.of, dataset_names), key=lambda each: len(each.names))
    seen = survey(records, facts, keys, max_megapixels=max_megapixels)
    listed = ", ".join(dataset_names)
    if fault := seen.fault(facts):
        raise ValueError(f"Dataset {listed}: {fault}")
    for remark in seen.remarks(facts):
        logger.warning("%s: %s.", listed, remark)


def _look_for_a_label(found: Survey, records: Sequence[Record], facts: LabelFacts) -> None:
    """Read label maps in order until one has a category."""
    look = partial(_look_at, facts=facts, keys=("sem_seg_file_name",), max_megapixels=float("inf"), decode=False)
    for number, one in enumerate(_in_threads(look, records), start=1):
        found.looked_at = max(found.looked_at, number)
        if one.errors or one.labels - {facts.ignore_label}:
            found.errors += one.errors
            found.labels |= one.labels
            found.categories |= one.categories
            return


def _in_threads(look: Any, records: Sequence[Record]) -> Iterator[Survey]:
    """Results in the order of the records."""
    number = min(_MAX_THREADS, len(os.sched_getaffinity(0)), len(records))
    if number <= 1:
        yield from map(look, records)
        return
    waiting = iter(records)
    with ThreadPoolExecutor(number) as pool:
        try:
            while batch := list(islice(waiting, _BATCH)):
                yield from pool.map(look, batch)
        except BaseException:  # also KeyboardInterrupt, and a caller that has seen enough
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _look_at(record: Record, facts: LabelFacts, keys: Collection[str], max_megapixels: float, decode: bool) -> Survey:
    found = Survey(1, looked_at=1)
    path = record["file_name"]
    try:
        if decode:
            height, width, _ = read_image(path, max_megapixels).shape
        else:
            width, height = image_size(path, max_megapixels)
        hw = (height, width)
        require_recorded_size(record, hw)
        image = LabelledImage(hw, path)
        if "sem_seg_file_name" in keys and "sem_seg_file_name" in record:
            labels = read_semantic_labels(record["sem_seg_file_name"], len(facts.names), facts.ignore_label, image)
            found.label_maps, found.labels = 1, set(present_labels(labels))
            found.solid = _solid_labels(labels)
            found.categories |= found.labels - {facts.ignore_label}
        if "pan_seg_file_name" in keys and "pan_seg_file_name" in record:
            panoptic = read_panoptic_labels(
                record["pan_seg_file_name"], record["segments_info"], image, record.get("ignored_segment_ids", ())
            )
            found.left_out.add(panoptic, record["pan_seg_file_name"])
            found.categories |= {info["category_id"] for info in panoptic.segments if not info.get("iscrowd", 0)}
        if "annotations" in keys and "annotations" in record:
            found.categories |= _instance_categories(record, hw)
    except (ValueError, OSError) as error:
        found.errors.append(str(error))
    return found


def _solid_labels(labels: NDArray[np.int64]) -> set[int]:
    """Labels that fill a square of 3 x 3 pixels."""
    small = labels.astype(np.uint32)
    rows = (small[:, 2:] == small[:, 1:-1]) & (small[:, 1:-1] == small[:, :-2])  # three equal pixels side by side
    first = small[:, :-2]
    same = (first[2:] == first[1:-1]) & (first[1:-1] == first[:-2])
    return set(present_labels(labels[:-2, :-2][rows[2:] & rows[1:-1] & rows[:-2] & same]))


def _instance_categories(record: Record, hw: tuple[int, int]) -> set[int]:
    from detectron2.data import transforms as T

    return set(instance_masks(record, hw, T.TransformList([])).classes.tolist())
