"""Panoptic ground truth of one image: the PNG compared with the segments that its annotation lists.

Training, evaluation, conversion to label maps and `check-data` read it here, so that the same segments count for all:
segments without a pixel are left out, pixels of segments that are not listed are void. A PNG that has none of its
segments is refused, with the likely reason.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image_files import opened_image
from .label_maps import LabelledImage, id2rgb, read_panoptic_png, rgb2id

VOID = 0
"""Segment id of pixels that belong to no segment."""

_MAX_ID = 256**3 - 1
_MAX_EXAMPLES = 3  # ids in a message


@dataclass(frozen=True)
class PanopticLabels:
    """Segment ids of an image and the segments that have pixels.

    Args:
        ids: (H, W) int64; `VOID` where no listed segment is.
        segments: those of the annotation with a pixel, in its order; an `area` is the number of pixels.
        absent: ids that the annotation lists, but the map does not have.
        unlisted: ids of the map that the annotation does not list.
        other_areas: ids of segments that the annotation gives another area.
    """

    ids: NDArray[np.int64]
    segments: list[Mapping[str, Any]]
    absent: list[int]
    unlisted: list[int]
    other_areas: list[int] = field(default_factory=list)

    def categories(self, ignore_label: int) -> NDArray[np.int64]:
        """(H, W) int64 `category_id` of each pixel, crowds included; `ignore_label` for void."""
        found = np.full(self.ids.shape, ignore_label, dtype=np.int64)
        for segment in self.segments:
            found[self.ids == segment["id"]] = segment["category_id"]
        return found


def read_panoptic_labels(
    path: str | os.PathLike,
    segments_info: Sequence[Mapping[str, Any]],
    image: LabelledImage | None = None,
    ignored: Collection[int] = (),
) -> PanopticLabels:
    """Read a panoptic PNG together with the segments of its annotation.

    Args:
        path: the PNG.
        segments_info: of its annotation; dicts with `id`.
        image: see `label_maps.read_label_map`.
        ignored: ids of segments of ignored categories, which become void.

    Raises:
        FileNotFoundError, ValueError: see `label_maps.read_panoptic_png`; an id is 0, too large or listed twice; or
            none of the listed segments has a pixel, or fewer than if red and blue were exchanged.
    """
    check_segment_ids(segments_info, str(path))
    ids = read_panoptic_png(path, image=image)
    listed = [info["id"] for info in segments_info]
    areas = _areas(ids)
    present = set(areas) - {VOID}
    absent = [segment_id for segment_id in listed if segment_id not in present]
    if absent:
        _refuse_other_encoding(path, listed, present)
    void = present.difference(listed)
    if void:
        ids[np.isin(ids, list(void))] = VOID
    unlisted = sorted(void.difference(ignored))
    segments, other_areas = [], []
    for info in segments_info:
        pixels = areas.get(info["id"])
        if pixels is None:
            continue
        if info.get("area", pixels) != pixels:
            other_areas.append(info["id"])
            info = {**info, "area": pixels}
        segments.append(info)
    return PanopticLabels(ids, segments, absent, unlisted, other_areas)


def check_segment_ids(segments_info: Sequence[Mapping[str, Any]], where: str) -> None:
    """Refuse segment ids that a panoptic PNG cannot hold; `where` names the image.

    Raises:
        ValueError: an id is no integer from 1 to 256^3 - 1, or is listed twice.
    """
    listed = [info["id"] for info in segments_info]
    for segment_id in listed:
        if isinstance(segment_id, bool) or not isinstance(segment_id, (int, np.integer)):
            raise ValueError(f"{where}: the segment id {segment_id!r} is no integer; write ids as plain numbers.")
    if VOID in listed:
        raise ValueError(
            f"{where}: a segment has the id {VOID}, which means 'no segment' in COCO's panoptic format; count from 1: "
            "add 1 to all ids of the annotation and of its PNG."
        )
    wrong = [segment_id for segment_id in listed if not 0 < segment_id <= _MAX_ID]
    if wrong:
        raise ValueError(f"{where}: the segment id {wrong[0]} is outside of 1..{_MAX_ID}, all that a PNG can hold.")
    if len(set(listed)) < len(listed):
        twice = next(segment_id for segment_id in listed if listed.count(segment_id) > 1)
        raise ValueError(f"{where}: the segment id {twice} is listed more than once; give each segment its own.")


@dataclass
class LeftOut:
    """Segments that were left out of some files, counted."""

    absent: int = 0
    unlisted: int = 0
    files: list[str] = field(default_factory=list)
    other_areas: int = 0

    def add(self, labels: PanopticLabels, path: str) -> None:
        if labels.absent or labels.unlisted or labels.other_areas:
            self.merge(LeftOut(len(labels.absent), len(labels.unlisted), [path], len(labels.other_areas)))

    def merge(self, other: LeftOut) -> None:
        self.absent += other.absent
        self.unlisted += other.unlisted
        self.other_areas += other.other_areas
        self.files += other.files

    def sentence(self) -> str:
        """What was left out and how to mend it; "" if nothing was."""
        kinds = [
            f"{self.absent} segments are listed without a pixel" if self.absent else "",
            f"{self.unlisted} segments have pixels but are not listed" if self.unlisted else "",
        ]
        where = f"in {len(self.files)} panoptic PNGs such as {self.files[0]}" if self.files else ""
        sentences = []
        if any(kinds):
            sentences.append(
                f"{' and '.join(filter(None, kinds))}, {where}; they are left out in training and evaluation. Make "
                "annotations and PNGs from the same source to keep them"
            )
        if self.other_areas:
            sentences.append(
                f"{self.other_areas} segments have another area than their number of pixels, {where}; evaluation "
                "counts the pixels"
            )
        return ". ".join(sentences)


def _areas(ids: NDArray[np.int64]) -> dict[int, int]:
    """The number of pixels of each id; a segment is contiguous, so that its runs are far fewer than its pixels."""
    flat = ids.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    found, run_of = np.unique(flat[starts], return_inverse=True)
    pixels = np.bincount(run_of.ravel(), np.diff(starts, append=flat.size))
    return dict(zip(found.tolist(), pixels.astype(int).tolist(), strict=True))


def _refuse_other_encoding(path: str | os.PathLike, listed: list[int], present: set[int]) -> None:
    """ValueError if none of the listed segments has a pixel, or if more of them have one in another encoding."""
    found = len(present.intersection(listed))
    colors = id2rgb(np.array(sorted(present), dtype=np.int64))
    blue_first = set(rgb2id(colors[:, ::-1]).tolist()).intersection(listed)
    begin = f"Panoptic PNG {path} has {found} of its {len(listed)} listed segments"
    if len(blue_first) > found:
        raise ValueError(
            f"{begin}, but {len(blue_first)} if red and blue are exchanged: it was saved blue first, as cv2.imwrite "
            "does with RGB arrays. Write it with red first (segment id = R + 256 G + 65536 B)."
        )
    if found:
        return
    if len(_palette_indices(path).intersection(listed)) > 0:
        raise ValueError(
            f"{begin}: it has the ids as indices of its palette, not as colors; write them as colors (segment id = R + "
            "256 G + 65536 B)."
        )
    shown = ", ".join(map(str, sorted(present)[:_MAX_EXAMPLES])) or "none"
    raise ValueError(
        f"{begin}: it has the ids {shown}, listed are {', '.join(map(str, listed[:_MAX_EXAMPLES]))}. It belongs to "
        "another image or annotation file, or its colors were changed; write it again with segment id = R + 256 G + "
        "65536 B."
    )


def _palette_indices(path: str | os.PathLike) -> set[int]:
    """Indices that a palette image uses; empty for other images."""
    with opened_image(path) as image:
        return set(np.unique(np.asarray(image)).tolist()) - {VOID} if image.mode == "P" else set()
