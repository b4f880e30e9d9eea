"""Checks of a dataset on disk: files, counts, id maps, labels, decoded samples.

Everything is derived from metadata and records, nothing from a dataset's name. Files must exist for all images; they
are read for some images, spread over the split, or for all of them.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..data.annotation_files import without_warnings
from ..data.file_checks import GROUND_TRUTH_KEYS, NUM_SAMPLES, LabelFacts, evenly_spread, require_files, survey
from ..data.label_maps import IGNORE_LABEL, read_label_map
from ..data.registration import register_aliases, registered_names_near
from ..data.registration.common import Record
from ..data.registration.sources import require_files as require_prepared_files
from ..image_files import image_size
from .annotations import AnnotationFiles
from .check_result import CheckResult, run_check

_NUM_LABELS_16_BIT = 65536
_MIN_AGREEMENT = 0.5  # of two label maps of an image, which may come from different files
_PATHS = ("panoptic_json", "json_file", "sem_seg_root", "panoptic_root", "image_root")


def check_dataset(name: str, every: bool = False) -> list[CheckResult]:
    """Check a registered dataset; missing files or unreadable records end the checks.

    Args:
        name: of the dataset.
        every: read the files of every image, with a progress bar on stderr; False: of some, evenly spread.

    Raises:
        ValueError: no dataset is registered under that name.
    """
    if name not in DatasetCatalog.list():
        raise ValueError(f"There is no dataset {name!r}; registered are: {', '.join(sorted(DatasetCatalog.list()))}.")
    metadata = MetadataCatalog.get(name)
    results = [_run_check("files", lambda: _check_files(name, metadata))]
    if not results[0].ok:
        return results
    records: list[Record] = []
    with without_warnings():  # they are messages of the check of annotations
        results.append(_run_check("records", lambda: _load(name, records)))
    if not results[1].ok:
        return results
    rendered = getattr(metadata, "evaluator_type", "") == "masqclip_captions"
    if rendered and not any(record.get("file_name") for record in records):
        return [*results, CheckResult("images", True, "no files: they are rendered in training")]
    files = AnnotationFiles(metadata)
    remarks: list[str] = []
    checks: dict[str, Callable[[], str]] = {
        "images": lambda: _check_count(records, metadata),
        "names": lambda: f"all {require_files(records)} files exist",
        "id maps": lambda: _check_id_maps(metadata, files),
        "samples": lambda: _check_samples(name, records, every, remarks),
    }
    if _may_have_another_order(metadata):
        checks["class order"] = lambda: _check_class_order(records, metadata)
    results += files.results() + [_run_check(subject, check, metadata) for subject, check in checks.items()]
    return results + [CheckResult("remark", True, remark, warning=True) for remark in remarks]


def matching_datasets(patterns: list[str]) -> list[str]:
    """Registered names that match the patterns, each once; aliases are registered for our datasets where they are free.

    Raises:
        ValueError: a pattern matches no name.
    """
    register_aliases(patterns)
    names: dict[str, None] = {}
    for pattern in patterns:
        matched = sorted(fnmatch.filter(DatasetCatalog.list(), pattern))
        if not matched:
            raise ValueError(f"No registered dataset matches {pattern!r}. {registered_names_near(pattern)}")
        names.update(dict.fromkeys(matched))
    return list(names)


def is_present(name: str) -> bool:
    """Whether the files and folders of a registered dataset exist; their contents are not checked."""
    paths = _paths(MetadataCatalog.get(name))
    return bool(paths) and all(map(os.path.exists, paths))


def _run_check(subject: str, check: Callable[[], str], metadata: Any = None) -> CheckResult:
    result = run_check(subject, check)
    return result if result.ok else replace(result, message=result.message + _fix(metadata, result.message))


def _fix(metadata: Any, message: str) -> str:
    """A sentence that describes the fix of a failed check, "" if there is none or the message contains it."""
    hint = getattr(metadata, "missing_hint", None)
    if hint is None or hint in message:
        return ""
    prepared = [getattr(metadata, key, None) for key in ("sem_seg_root", "panoptic_root", "json_file")]
    path = next((path for path in prepared if path and path in message), None)
    return f" To fix it, {f'move {path} away and ' if path else ''}{hint}."


def _paths(metadata: Any) -> list[str]:
    paths = [path for key in _PATHS if (path := getattr(metadata, key, None))]
    if getattr(metadata, "evaluator_type", None) == "coco_panoptic_seg":  # semantic maps only repeat its panoptic PNGs
        semantic = getattr(metadata, "sem_seg_root", None)
        paths = [path for path in paths if path != semantic or os.path.exists(path)]
    return paths


def _check_files(name: str, metadata: Any) -> str:
    paths = _paths(metadata)
    if getattr(metadata, "missing_hint", None) is not None:
        require_prepared_files(name, metadata.as_dict(), paths)
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        DatasetCatalog.get(name)  # fails with the fix, if it needs them
        return f"not needed to read the dataset, and not there: {', '.join(missing)}"
    return ", ".join(paths) or "the dataset names none"


def _load(name: str, records: list[Record]) -> str:
    records += DatasetCatalog.get(name)
    if not records:
        raise ValueError("the dataset is empty.")
    annotations = sum(len(record.get("annotations", record.get("segments_info", ()))) for record in records)
    return f"{len(records)} images" + (f", {annotations} annotations" if annotations else "")


def _check_count(records: list[Record], metadata: Any) -> str:
    published = getattr(metadata, "published_images", None)
    if published is not None and len(records) not in published:
        raise ValueError(
            f"found {len(records)} labelled images, need {' or '.join(map(str, published))} as published; "
            "the download or the preparation is incomplete."
        )
    return f"{len(records)}, as published" if published else str(len(records))


def _check_id_maps(metadata: Any, files: AnnotationFiles) -> str:
    """Contiguous ids are 0..K-1, the ignore label is not one of them, annotation files have the same names per id."""
    names = getattr(metadata, "stuff_classes", None) or getattr(metadata, "thing_classes", None)
    if not names:
        return "the dataset has no categories"
    ignore_label = getattr(metadata, "ignore_label", IGNORE_LABEL)
    if getattr(metadata, "sem_seg_root", None) and ignore_label < len(names):
        raise ValueError(f"the ignore label {ignore_label} is also category {names[ignore_label]!r}; set it to 65535.")
    ids = getattr(metadata, "stuff_dataset_id_to_contiguous_id", None)
    if ids is None or getattr(metadata, "vocabulary", None) is None:
        return f"{len(names)} categories"
    if sorted(ids.values()) != list(range(len(names))):
        raise ValueError(f"the contiguous ids of {len(names)} categories are not 0..{len(names) - 1}.")
    if getattr(metadata, "missing_hint", None) is not None:  # names of a user's data were compared at registration
        files.compare_names(ids, metadata.vocabulary)
    return f"{len(names)} categories, {len(metadata.thing_classes)} of them things"


def _check_samples(name: str, records: list[Record], every: bool, remarks: list[str]) -> str:
    facts = LabelFacts.of(name)
    seen = survey(records, facts, GROUND_TRUTH_KEYS, None if every else NUM_SAMPLES, progress=name if every else "")
    if fault := seen.fault(facts):
        raise ValueError(fault)
    remarks += seen.remarks(facts)
    others = "" if seen.is_complete else " (--all: every image)"
    width, height = image_size(records[0]["file_name"])
    example = f"{Path(records[0]['file_name']).name}: {width}x{height}"
    return f"{seen.extent()} read{others}, {len(seen.categories)} categories in them; {example}"


def _may_have_another_order(metadata: Any) -> bool:
    """Whether these are label maps of Pascal Context's 59 categories by OVSeg or CAT-Seg, which share a folder name."""
    return Path(getattr(metadata, "sem_seg_root", None) or "").name.startswith("pc59_")


def _check_class_order(records: list[Record], metadata: Any) -> str:
    """Compare with the label maps of all 459 categories in the neighboring folder."""
    from ..categories import load_categories

    root = Path(metadata.sem_seg_root)
    beside = root.with_name(root.name.replace("pc59_", "pc459_"))
    if not beside.is_dir():
        return f"unknown: CAT-Seg's order is supported, OVSeg's is not; label maps in {beside} would allow the check"
    ranks = {row.attributes["label_459"] - 1: row.id for row in load_categories("pascal_context_59")}
    expected_of = np.array([ranks.get(label, metadata.ignore_label) for label in range(_NUM_LABELS_16_BIT)])
    agreeing = compared = 0
    for record in evenly_spread(records):
        other = beside / f"{record['image_id']}.tif"
        if not other.is_file():
            continue
        expected, found = expected_of[read_label_map(other)], read_label_map(record["sem_seg_file_name"])
        known = expected != metadata.ignore_label
        agreeing, compared = agreeing + (found[known] == expected[known]).sum(), compared + known.sum()
    if agreeing < _MIN_AGREEMENT * compared:
        raise ValueError(f"{root} does not match {beside}: its categories have OVSeg's order, which is not supported.")
    return f"matches {beside}"
