"""Identities of segments over frames: segments of neighbouring frames are joined by the IoU of their masks.

This is no tracker: nothing predicts motion, and nothing compares appearance. An object that moves by more than its own
size between two frames, or that is hidden for more than a few frames, has a new identity afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..results import Segment
from ..results.colors import Color, category_colors, shade
from ..vocabulary import Vocabulary

MIN_IOU = 0.3
"""Masks of neighbouring frames with less overlap are different objects."""
MAX_GAP = 5
"""Frames for which an object may be missing and keep its identity."""

_LONGEST_SIDE = 512  # pixels; masks are compared at every second, third, ... pixel of larger frames


@dataclass
class _Object:
    """An object of earlier frames: the mask that it had last, as a row of pixels."""

    identity: int
    category_id: int
    shade: int
    last_frame: int
    mask: np.ndarray


class SegmentJoiner:
    """Numbers and colors of segments, frame by frame; memory of the last few frames only.

    The numbers count from 1 and are never used twice. Objects of one category that are visible together differ in
    shade, up to as many as there are shades. A category that has one segment per frame (stuff, and all categories of
    semantic segmentation) keeps its number wherever the segment is.

    Args:
        vocabulary: the categories.
        task: "panoptic", "instance" or "semantic".
        min_iou, max_gap: see `MIN_IOU`, `MAX_GAP`.
    """

    def __init__(self, vocabulary: Vocabulary, task: str, min_iou: float = MIN_IOU, max_gap: int = MAX_GAP) -> None:
        self._colors = category_colors(vocabulary)
        self._has_one = [task == "semantic" or (task == "panoptic" and not isthing) for isthing in vocabulary.is_thing]
        self._min_iou, self._max_gap = min_iou, max_gap
        self._objects: list[_Object] = []  # those that a segment of the next frame may continue
        self._one_of: dict[int, int] = {}  # category with one segment per frame -> its number
        self._num_identities = 0
        self._frame = 0

    def join(self, segments: Sequence[Segment]) -> tuple[list[int], list[Color]]:
        """Number and color of each segment of the next frame."""
        self._frame += 1
        self._objects = [one for one in self._objects if self._frame - one.last_frame <= self._max_gap + 1]
        found: list[tuple[int, int] | None] = [None] * len(segments)  # (number, shade)
        by_category: dict[int, list[int]] = {}
        for index, segment in enumerate(segments):
            if self._has_one[segment.category_id]:
                found[index] = self._number_of(segment.category_id), 0
            else:
                by_category.setdefault(segment.category_id, []).append(index)
        for category, indices in by_category.items():
            joined = self._join_category(category, [_pixels(segments[index].mask) for index in indices])
            for index, one in zip(indices, joined, strict=True):
                found[index] = one.identity, one.shade
        rows = [one for one in found if one is not None]
        colors = [self._colors[segment.category_id] for segment in segments]
        shades = [shade(color, index) for color, (_, index) in zip(colors, rows, strict=True)]
        return [identity for identity, _ in rows], shades

    def _join_category(self, category: int, masks: list[np.ndarray]) -> list[_Object]:
        earlier = [one for one in self._objects if one.category_id == category]
        pairs = _best_pairs([one.mask for one in earlier], masks, self._min_iou)
        joined = []
        for index, mask in enumerate(masks):
            if index in pairs:
                one = earlier[pairs[index]]
                one.mask, one.last_frame = mask, self._frame
            else:
                one = _Object(self._new_identity(), category, self._free_shade(category), self._frame, mask)
                self._objects.append(one)
            joined.append(one)
        return joined

    def _number_of(self, category: int) -> int:
        if category not in self._one_of:
            self._one_of[category] = self._new_identity()
        return self._one_of[category]

    def _new_identity(self) -> int:
        self._num_identities += 1
        return self._num_identities

    def _free_shade(self, category: int) -> int:
        used = {one.shade for one in self._objects if one.category_id == category}
        return next(index for index in range(len(used) + 1) if index not in used)


def _pixels(mask: np.ndarray) -> np.ndarray:
    """A mask as a row of floats, of a bounded number of pixels."""
    step = -(-max(mask.shape) // _LONGEST_SIDE)
    return mask[::step, ::step].reshape(-1).astype(np.float32)


def _best_pairs(earlier: Sequence[np.ndarray], masks: Sequence[np.ndarray], min_iou: float) -> dict[int, int]:
    """Index of a mask -> index of the earlier mask that it continues: the pairs whose IoU has the greatest sum."""
    from scipy.optimize import linear_sum_assignment

    if not earlier or not masks:
        return {}
    before, now = np.stack(earlier), np.stack(masks)
    common = before @ now.T
    union = before.sum(1)[:, None] + now.sum(1) - common
    iou = common / np.maximum(union, 1)
    iou[iou < min_iou] = 0
    rows, columns = linear_sum_assignment(iou, maximize=True)
    return {int(column): int(row) for row, column in zip(rows, columns, strict=True) if iou[row, column] > 0}
