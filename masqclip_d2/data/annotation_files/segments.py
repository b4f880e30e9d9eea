"""Segments of a panoptic annotation file as training, evaluation and checks use them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..panoptic_labels import check_segment_ids
from .report import AnnotationReport
from .structure import (
    file_name,
    flag,
    integer_id,
    number,
    read_annotations,
    repeated,
    require_entries,
    shown,
    used_categories,
)


@dataclass(frozen=True)
class PanopticFile:
    """The segments of a file.

    Args:
        content: `images`, `categories` and `annotations` in COCO's panoptic format, one per image. A
            segment has a positive integer `id`, `category_id`, `area` and `iscrowd` 0 or 1; further fields are
            unchanged. `ignored_segment_ids` of an annotation are those of ignored categories, whose pixels belong to no
            segment.
        report: what was left out.
    """

    content: dict[str, Any]
    report: AnnotationReport


def segments_of(metadata: Mapping[str, Any]) -> PanopticFile:
    """The segments of a dataset.

    Args:
        metadata: `panoptic_json`, `stuff_dataset_id_to_contiguous_id` (all categories), and `ignored_category_ids` if
            set at registration.

    Raises:
        FileNotFoundError, ValueError: see `read_segments`.
    """
    ids = metadata["stuff_dataset_id_to_contiguous_id"]
    return read_segments(metadata["panoptic_json"], ids, ignored=metadata.get("ignored_category_ids", ()))


def read_segments(
    path: str | os.PathLike, category_ids: Collection[int], *, ignored: Collection[int] = ()
) -> PanopticFile:
    """Read a file in COCO's panoptic format.

    Args:
        path: the json.
        category_ids: of the dataset, that segments may have.
        ignored: ids of categories that are removed from the file; their segments become void.

    Raises:
        FileNotFoundError, ValueError: see `read_annotations`; a segment has another category; an image has two
            annotations, or a segment id twice.
    """
    return usable_segments(read_annotations(path), path, category_ids, ignored=ignored)


def usable_segments(
    content: dict[str, Any], path: str | os.PathLike, category_ids: Collection[int], *, ignored: Collection[int] = ()
) -> PanopticFile:
    """`read_segments` for the content of `read_annotations`, which is changed."""
    content["categories"] = used_categories(content["categories"], ignored, path)
    require_entries(content["annotations"], ("file_name", "segments_info"), f"{path}: annotation")
    report = AnnotationReport(str(path))
    segments = []
    for annotation in content["annotations"]:
        where = f"{path}, image {shown(annotation['image_id'])}"
        annotation["file_name"] = file_name(annotation["file_name"], f"{where} has the file_name")
        kept = _read_segments(annotation["segments_info"], category_ids, ignored, where)
        annotation["ignored_segment_ids"] = [row["id"] for row in kept if row["category_id"] in ignored]
        annotation["segments_info"] = [row for row in kept if row["category_id"] not in ignored]
        segments += annotation["segments_info"]
    if twice := repeated(annotation["image_id"] for annotation in content["annotations"]):
        raise ValueError(f"{path}: image {shown(twice[0])} has several annotations; a panoptic file has one each.")
    if missing := len(content["images"]) - len(content["annotations"]):
        report.remarks.append(
            f"Images without an annotation, which are left out in training and evaluation: {missing} of "
            f"{len(content['images'])}."
        )
    if not segments:
        report.remarks.append("It has no segments: there is nothing to learn, and metrics are nan.")
    elif all(row["iscrowd"] for row in segments):
        report.remarks.append(
            f"All segments ({len(segments)}) are crowds ('iscrowd': 1), which training leaves out and metrics do not "
            "count; set 'iscrowd' to 0 for single objects."
        )
    return PanopticFile(content, report)


def _read_segments(
    rows: Any, category_ids: Collection[int], ignored: Collection[int], where: str
) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{where}: 'segments_info' is {shown(rows)}; expected a list of objects.")
    require_entries(rows, ("id", "category_id", "area"), f"{where}: segment")
    for row in rows:
        row["id"] = integer_id(row["id"], f"{where} has the segment id")
        row["category_id"] = integer_id(row["category_id"], f"{where}, segment {row['id']} has category id")
        row["iscrowd"] = flag(row.get("iscrowd", 0), f"{where}, segment {row['id']} has 'iscrowd'")
        area = number(row["area"])
        if area is None or area < 0:
            raise ValueError(
                f"{where}, segment {row['id']} has the area {shown(row['area'])}; expected its number of pixels."
            )
        row["area"] = row["area"] if row["area"] == area else area
        if row["category_id"] not in category_ids and row["category_id"] not in ignored:
            raise ValueError(
                f"{where} has category id {row['category_id']}, which is not among the {len(category_ids)} categories "
                f"of the dataset (segment {row['id']}); add it to `categories`, or remove the segment."
            )
    check_segment_ids(rows, where)
    return rows
