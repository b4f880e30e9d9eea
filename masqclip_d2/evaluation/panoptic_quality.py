"""Panoptic quality (Kirillov et al., "Panoptic Segmentation", CVPR 2019) by the rules of the COCO evaluation.

`PanopticQuality` works on arrays, without files and without Detectron2. Differences from panopticapi: the mean over no
category is nan with n = 0 (panopticapi divides by zero), areas of the ground truth that disagree with its map cause a
warning, and ids of the ground truth's map that no annotation lists are an error.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..data.label_maps import read_panoptic_png
from ..data.panoptic_labels import VOID, read_panoptic_labels
from ..json_data import read_json
from ..processes import in_workers

_MATCH_IOU = 0.5  # strict; above it, a match is unique (Kirillov et al., Sec. 4.1)
_LARGEST_ID = 2**62  # ids of segments and categories are int64
_PAIRS_PER_CHUNK = 16  # images per task of a worker process
_IGNORED_SHARE = 0.5  # an unmatched prediction with more than this share of its pixels on void or crowd is ignored

logger = logging.getLogger(__name__)


@dataclass
class CategoryCounts:
    """Counts of one category over images: sum of matched IoUs, true positives, false positives, false negatives."""

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def add(self, other: CategoryCounts) -> None:
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn

    def quality(self) -> dict[str, float] | None:
        """PQ, SQ, RQ in [0, 1]; None if the category neither occurs nor is predicted."""
        denominator = self.tp + 0.5 * self.fp + 0.5 * self.fn
        if denominator == 0:
            return None
        return {
            "pq": self.iou / denominator,
            "sq": self.iou / self.tp if self.tp else 0.0,
            "rq": self.tp / denominator,
        }


class PanopticQuality:
    """Accumulates panoptic quality image by image.

    Args:
        category_ids: all known category ids; any integers.
    """

    def __init__(self, category_ids: Iterable[int]):
        self.counts = {int(category): CategoryCounts() for category in category_ids}

    def add_image(
        self,
        gt_map: np.ndarray,
        gt_segments: Sequence[Mapping],
        pred_map: np.ndarray,
        pred_segments: Sequence[Mapping],
        name: str = "image",
    ) -> None:
        """Match the segments of one image and add to the counts.

        Args:
            gt_map, pred_map: (H, W) integers, segment ids, 0 = void.
            gt_segments: dicts with `id`, `category_id`, `area` (pixels; the published rules use this area of the ground
                truth, not that of its map) and `iscrowd` (0 if absent).
            pred_segments: dicts with `id` and `category_id`; areas are counted in `pred_map`.
            name: of the image, for error messages.

        Raises:
            ValueError: sizes differ, an id of a map is not in its segments, a predicted segment has no pixel, an id
                occurs twice or is 0, or a category is unknown.
        """
        if gt_map.shape != pred_map.shape:
            raise ValueError(f"{name}: the prediction has {pred_map.shape} pixels, the ground truth {gt_map.shape}.")
        gt = self._segment_table(gt_segments, f"{name}, ground truth", with_area=True)
        pred = self._segment_table(pred_segments, f"{name}, prediction")
        overlap = _overlap_table(gt_map, list(gt), pred_map, list(pred), name)
        self._warn_of_areas(gt, overlap[1:].sum(1), name)
        self._match(list(gt.values()), list(pred.values()), overlap)

    def _segment_table(self, segments: Sequence[Mapping], name: str, with_area: bool = False) -> dict[int, Mapping]:
        for segment in segments:
            if not _is_segment(segment, with_area):
                area = " and an area of at least 0" if with_area else ""
                raise ValueError(
                    f"{name}: a segment needs the integers id and category_id{area}, got {segment!s:.200}."
                )
        table = {int(segment["id"]): segment for segment in segments}
        if len(table) != len(segments) or VOID in table:
            raise ValueError(f"{name}: segment ids must be unique and not {VOID}, got {[s['id'] for s in segments]}.")
        for segment_id, segment in table.items():
            if segment["category_id"] not in self.counts:
                raise ValueError(
                    f"{name}: segment {segment_id} has the unknown category_id {segment['category_id']}; "
                    f"known: {_shortened(self.counts)}."
                )
        return table

    def _match(self, gt: list[Mapping], pred: list[Mapping], overlap: np.ndarray) -> None:
        """Count true and false positives and false negatives; `overlap` is (1 + G, 1 + R), index 0 is void."""
        pred_area = overlap.sum(0)[1:].astype(np.float64)  # (R,)
        gt_area = np.array([s["area"] for s in gt], dtype=np.float64)
        gt_category = np.array([s["category_id"] for s in gt], dtype=np.int64)
        pred_category = np.array([s["category_id"] for s in pred], dtype=np.int64)
        is_crowd = np.array([bool(s.get("iscrowd", 0)) for s in gt], dtype=bool)
        void_overlap, inner = overlap[0, 1:], overlap[1:, 1:]

        same = (gt_category[:, None] == pred_category[None]) & ~is_crowd[:, None]  # (G, R)
        union = pred_area[None] + gt_area[:, None] - inner - void_overlap[None]
        candidate = same & (inner > 0)
        union = np.maximum(union, inner)  # the area field may be too small
        iou = np.divide(inner, union, out=np.zeros(inner.shape), where=candidate)
        matched = candidate & (iou > _MATCH_IOU)

        # Crowd of the prediction's own category; as published, only the last crowd segment of a category counts.
        crowd_overlap = np.zeros(len(pred), dtype=np.int64)
        for row in np.flatnonzero(is_crowd):
            columns = pred_category == gt_category[row]
            crowd_overlap[columns] = inner[row, columns]
        ignored = (void_overlap + crowd_overlap) > _IGNORED_SHARE * pred_area

        for row, column in np.argwhere(matched):
            counts = self.counts[int(gt_category[row])]
            counts.tp += 1
            counts.iou += float(iou[row, column])
        for category in gt_category[~matched.any(1) & ~is_crowd]:
            self.counts[int(category)].fn += 1
        for category in pred_category[~matched.any(0) & ~ignored]:
            self.counts[int(category)].fp += 1

    @staticmethod
    def _warn_of_areas(gt: dict[int, Mapping], counted: np.ndarray, name: str) -> None:
        wrong = [i for (i, s), pixels in zip(gt.items(), counted, strict=True) if int(s["area"]) != int(pixels)]
        if wrong:
            logger.warning(
                "%s: the area of ground-truth segments %s differs from their pixels in the map; PQ can be wrong. "
                "The published rules use the area field: correct it in the annotation file.",
                name,
                wrong,
            )

    def state(self) -> dict[int, tuple[float, int, int, int]]:
        """Counts per category as plain tuples, to send between processes; see `merge`."""
        return {category: (c.iou, c.tp, c.fp, c.fn) for category, c in self.counts.items()}

    def merge(self, state: Mapping[int, tuple[float, int, int, int]]) -> None:
        """Add the counts of another process, its `state()`, for the same categories."""
        for category, (iou, tp, fp, fn) in state.items():
            self.counts[category].add(CategoryCounts(iou, tp, fp, fn))

    def per_category(self) -> dict[int, dict[str, float]]:
        """`pq`, `sq`, `rq` in [0, 1] of each category that occurs or is predicted."""
        qualities = {category: counts.quality() for category, counts in self.counts.items()}
        return {category: quality for category, quality in qualities.items() if quality is not None}

    def result(self, category_ids: Iterable[int] | None = None) -> dict[str, float]:
        """Mean over categories.

        Args:
            category_ids: the group to average over; None takes all.

        Returns:
            `pq`, `sq`, `rq` in [0, 1], and `n`, the number of categories of the group that occur or are predicted; nan
            if there are none.
        """
        qualities = self.per_category()
        group = [qualities[c] for c in (self.counts if category_ids is None else category_ids) if c in qualities]
        if not group:
            return {"pq": float("nan"), "sq": float("nan"), "rq": float("nan"), "n": 0}
        means = {key: sum(quality[key] for quality in group) / len(group) for key in ("pq", "sq", "rq")}
        return {**means, "n": len(group)}


def panoptic_quality_of_folders(
    gt_json: str | Path, gt_dir: str | Path, pred_json: str | Path, pred_dir: str | Path, num_workers: int = 1
) -> tuple[PanopticQuality, dict[int, dict]]:
    """Evaluate predictions on disk; predictions and ground truth are in COCO panoptic format.

    Args:
        gt_json, pred_json: annotation files; categories are those of `gt_json`.
        gt_dir, pred_dir: folders of the PNG files that the annotations' `file_name` names.
        num_workers: processes; at most 1: this process.

    Returns:
        The filled `PanopticQuality` and the categories by id, as in `gt_json`.

    Raises:
        ValueError: a ground-truth image has no prediction, or see `PanopticQuality.add_image`.
    """
    gt = read_json(gt_json)
    predictions = {a["image_id"]: a for a in read_json(pred_json)["annotations"]}
    categories = {category["id"]: category for category in gt["categories"]}
    for annotation in gt["annotations"]:
        if annotation["image_id"] not in predictions:
            raise ValueError(f"{pred_json}: no prediction for image {annotation['image_id']} of {gt_json}.")
    pairs = [(annotation, predictions[annotation["image_id"]]) for annotation in gt["annotations"]]
    count = partial(_state_of_pairs, category_ids=tuple(categories), gt_dir=Path(gt_dir), pred_dir=Path(pred_dir))
    quality = PanopticQuality(categories)
    if num_workers <= 1:
        quality.merge(count(pairs))
    else:
        chunks = [pairs[start : start + _PAIRS_PER_CHUNK] for start in range(0, len(pairs), _PAIRS_PER_CHUNK)]
        for state in in_workers(count, chunks, num_workers, ordered=True):  # rounding does not depend on timing
            quality.merge(state)
    return quality, categories


def _state_of_pairs(
    pairs: Sequence[tuple[Mapping, Mapping]], category_ids: Iterable[int], gt_dir: Path, pred_dir: Path
) -> dict[int, tuple[float, int, int, int]]:
    """`PanopticQuality.state` after these pairs of (ground-truth annotation, predicted annotation)."""
    quality = PanopticQuality(category_ids)
    for annotation, prediction in pairs:
        gt = read_panoptic_labels(gt_dir / annotation["file_name"], annotation["segments_info"])
        quality.add_image(
            gt.ids,
            gt.segments,
            read_panoptic_png(pred_dir / prediction["file_name"]),
            prediction["segments_info"],
            name=f"image {annotation['image_id']} ({annotation['file_name']})",
        )
    return quality.state()


def _overlap_table(
    gt_map: np.ndarray, gt_ids: list[int], pred_map: np.ndarray, pred_ids: list[int], name: str
) -> np.ndarray:
    """(1 + G, 1 + R) pixels shared by ground-truth and predicted segments; row and column 0 are void."""
    gt_runs, pred_runs, lengths = _runs(gt_map.reshape(-1), pred_map.reshape(-1))
    gt_index = _to_index(gt_runs, gt_ids, f"{name}, ground truth")
    pred_index = _to_index(pred_runs, pred_ids, f"{name}, prediction")
    columns = 1 + len(pred_ids)
    # With weights, `bincount` sums in float64, which is exact for any number of pixels of an image.
    pairs = np.bincount(gt_index * columns + pred_index, lengths, minlength=(1 + len(gt_ids)) * columns)
    overlap = pairs.astype(np.int64).reshape(1 + len(gt_ids), columns)
    absent = [i for i, pixels in zip(pred_ids, overlap.sum(0)[1:], strict=True) if pixels == 0]
    if absent:
        raise ValueError(
            f"{name}, prediction: segments {_shortened(absent)} of segments_info have no pixel in the map."
        )
    return overlap


def _runs(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split two rows of pixels where either changes: (R,) values of both, and the number of pixels of each run.

    Segments are contiguous: an image of 640 x 640 pixels has about ten thousand runs for 400,000 pixels.
    """
    changes = np.flatnonzero((one[1:] != one[:-1]) | (other[1:] != other[:-1])) + 1
    starts = np.concatenate([np.zeros(min(1, one.size), dtype=changes.dtype), changes])
    return one[starts], other[starts], np.diff(starts, append=one.size)


def _to_index(segment_ids: np.ndarray, ids: list[int], name: str) -> np.ndarray:
    """(R,) position of each segment id in `ids` plus 1; 0 for void."""
    known = np.array([VOID, *ids], dtype=np.int64)
    order = known.argsort()
    slot = np.minimum(np.searchsorted(known[order], segment_ids), len(known) - 1)
    position = order[slot]
    listed = known[position] == segment_ids
    if not listed.all():
        unlisted = np.unique(segment_ids[~listed]).tolist()
        raise ValueError(
            f"{name}: segment ids {_shortened(unlisted)} of the map are not in segments_info; list them or write "
            f"{VOID} (void) in their place."
        )
    return position


def _is_segment(segment: Any, with_area: bool) -> bool:
    if not isinstance(segment, Mapping):
        return False
    area = segment.get("area") if with_area else 0
    ids = [segment.get(key) for key in ("id", "category_id")]
    has_ids = all(isinstance(each, (int, np.integer)) and abs(each) < _LARGEST_ID for each in ids)
    return has_ids and isinstance(area, (int, float, np.number)) and bool(0 <= area < np.inf)


def _shortened(values: Iterable, limit: int = 12) -> str:
    values = list(values)
    return ", ".join(map(str, values[:limit])) + (f", ... ({len(values)} in all)" if len(values) > limit else "")
