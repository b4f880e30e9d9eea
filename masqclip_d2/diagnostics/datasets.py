"""Checks of a dataset on disk: files, counts, id maps, labels, decoded samples.

Everything is derived from metadata and records, nothing from a dataset's name. Files must exist for all images; labels
are decoded for some of them, spread over the split, since errors of a preparation usually affect all.
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
from ..data.ground_truth import instance_masks, panoptic_masks, refuse_wrong_labels
from ..data.label_maps import IGNORE_LABEL, image_size, read_label_map, read_panoptic_png
from ..data.registration import register_aliases, registered_names_near
from ..data.registration.common import Record
from ..data.registration.sources import require_files
from .annotations import AnnotationFiles
from .check_result import CheckResult, run_check

_NUM_SAMPLES = 12  # decoded images
_NUM_LABELS_16_BIT = 65536
_MIN_AGREEMENT = 0.5  # of two label maps of an image, which may come from different files
_PATHS = ("panoptic_json", "json_file", "sem_seg_root", "panoptic_root", "image_root")
_FILES = ("file_name", "pan_seg_file_name", "sem_seg_file_name")


def check_dataset(name: str) -> list[CheckResult]:
    """Check a registered dataset; missing files or unreadable records end the checks.

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
    checks: dict[str, Callable[[], str]] = {
        "images": lambda: _check_count(records, metadata),
        "names": lambda: _check_files_of_records(records),
        "id maps": lambda: _check_id_maps(metadata, files),
        "samples": lambda: _check_samples(records, metadata),
    }
    if _may_have_another_order(metadata):
        checks["class order"] = lambda: _check_class_order(records, metadata)
    return results + files.results() + [_run_check(subject, check, metadata) for subject, check in checks.items()]


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
        require_files(name, metadata.as_dict(), paths)
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


def _check_files_of_records(records: list[Record]) -> str:
    listings: dict[str, set[str]] = {}
    number = 0
    missing = []
    for record in records:
        for key in _FILES:
            if key in record:
                folder, file_name = os.path.split(record[key])
                if folder not in listings:
                    listings[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
                number += 1
                if file_name not in listings[folder]:
                    missing.append(record[key])
    if missing:
        raise ValueError(f"{len(missing)} of {number} files are missing, the first being {missing[0]}.")
    return f"all {number} files exist"


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


def _check_samples(records: list[Record], metadata: Any) -> str:
    from detectron2.data import transforms as T

    unchanged = T.TransformList([])
    seen: set[int] = set()
    chosen = samples(records)
    for record in chosen:
        width, height = image_size(record["file_name"])
        if (record.get("height", height), record.get("width", width)) != (height, width):
            raise ValueError(
                f"{record['file_name']} is {width}x{height}, but {record['width']}x{record['height']} in its record "
                "(width x height)."
            )
        if "sem_seg_file_name" in record:
            seen |= _check_label_map(record["sem_seg_file_name"], (height, width), metadata)
        if "pan_seg_file_name" in record:
            _check_panoptic_png(record)
            seen |= set(panoptic_masks(record, (height, width), unchanged).classes.tolist())
        if "annotations" in record:
            seen |= set(instance_masks(record, (height, width), unchanged).classes.tolist())
    first = chosen[0]
    width, height = image_size(first["file_name"])
    return f"{len(chosen)} decoded, {len(seen)} categories in them; {Path(first['file_name']).name}: {width}x{height}"


def samples(records: list[Record]) -> list[Record]:
    """Some records, evenly spread, with the first and the last."""
    positions = np.linspace(0, len(records) - 1, min(len(records), _NUM_SAMPLES)).round().astype(int)
    return [records[position] for position in positions]


def _check_label_map(path: str, hw: tuple[int, int], metadata: Any) -> set[int]:
    labels = read_label_map(path)
    if labels.shape != hw:
        raise ValueError(f"{path} has {labels.shape[1]}x{labels.shape[0]} pixels, its image {hw[1]}x{hw[0]}.")
    ignore_label = getattr(metadata, "ignore_label", IGNORE_LABEL)
    return refuse_wrong_labels(labels, len(metadata.stuff_classes), ignore_label, path)


def _check_panoptic_png(record: Record) -> None:
    path = record["pan_seg_file_name"]
    listed = {info["id"] for info in record["segments_info"]}.union(record.get("ignored_segment_ids", ()))
    unlisted = set(np.unique(read_panoptic_png(path)).tolist()) - {0, *listed}
    if unlisted:
        raise ValueError(
            f"{path} has {len(unlisted)} segment ids, such as {min(unlisted)}, that its annotation file does not list."
        )


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
    for record in samples(records):
        other = beside / f"{record['image_id']}.tif"
        if not other.is_file():
            continue
        expected, found = expected_of[read_label_map(other)], read_label_map(record["sem_seg_file_name"])
        known = expected != metadata.ignore_label
        agreeing, compared = agreeing + (found[known] == expected[known]).sum(), compared + known.sum()
    if agreeing < _MIN_AGREEMENT * compared:
        raise ValueError(f"{root} does not match {beside}: its categories have OVSeg's order, which is not supported.")
    return f"matches {beside}"
