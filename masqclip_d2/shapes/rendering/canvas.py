"""Canvas with the segment of each pixel, and super-sampled objects that are painted on it.

A pixel belongs to an object that covers at least half of it; colours are blended by coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...categories import Category

_SAMPLES = 3  # per pixel and axis

Floats = NDArray[np.floating]  # float32 in practice
Color = Floats  # (3,) RGB in [0, 1]
# Offsets (dx, dy) in pixels from an object's centre -> (inside the object, has its second colour).
Membership = Callable[[Floats, Floats], tuple[NDArray[np.bool_], NDArray[np.bool_]]]


@dataclass(frozen=True)
class Segment:
    """A labelled region of a scene. `object_size` is the longer side of the drawn object in pixels, 0 for stuff."""

    category: Category
    object_size: float


class Canvas:
    """Image under construction, (H, W, 3) float32 in [0, 1], with the segment of each pixel."""

    def __init__(self, image: Floats, segment_map: NDArray[np.uint8], segments: list[Segment]) -> None:
        self.image = image
        self.segment_map = segment_map
        self.segments = segments
        # Visible pixels of void and of each segment.
        self.areas: list[int] = np.bincount(segment_map.ravel(), minlength=len(segments) + 1).tolist()
        self.full_areas = list(self.areas)  # without occlusion by later objects

    @property
    def hw(self) -> tuple[int, int]:
        height, width = self.segment_map.shape
        return height, width

    def mean_color_around(self, x: float, y: float, radius: float) -> Color:
        """Return the mean colour of a square window around a point."""
        window = self.image[
            max(int(y - radius), 0) : max(int(y + radius) + 1, 1), max(int(x - radius), 0) : max(int(x + radius) + 1, 1)
        ]
        return window.reshape(-1, 3).mean(axis=0)

    def covered_areas(self, patch: Patch) -> NDArray[np.signedinteger]:
        """Return the number of visible pixels that void and each segment would lose to the patch."""
        return np.bincount(self.segment_map[patch.window][patch.mask], minlength=len(self.areas))

    def add(self, patch: Patch, segment: Segment) -> None:
        """Assign the pixels of the patch to a new segment."""
        covered = self.covered_areas(patch)
        self.areas = [area - int(hidden) for area, hidden in zip(self.areas, covered, strict=True)]
        self.segments.append(segment)
        self.areas.append(int(patch.mask.sum()))
        self.full_areas.append(self.areas[-1])
        self.segment_map[patch.window][patch.mask] = len(self.segments)

    def make_void(self, patch: Patch) -> None:
        """Make the pixels of the patch void."""
        covered = self.covered_areas(patch)
        self.areas = [area - int(hidden) for area, hidden in zip(self.areas, covered, strict=True)]
        self.areas[0] += int(covered.sum())
        self.segment_map[patch.window][patch.mask] = 0


class Patch:
    """An object, super-sampled in a window of the frame that contains it."""

    def __init__(self, hw: tuple[int, int], x: float, y: float, radius: float, membership: Membership) -> None:
        self.x, self.y = x, y
        top, bottom = max(int(y - radius), 0), min(int(y + radius) + 2, hw[0])
        left, right = max(int(x - radius), 0), min(int(x + radius) + 2, hw[1])
        self.window = (slice(top, bottom), slice(left, right))
        sample_x = (np.arange((right - left) * _SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES + np.float32(left - x)
        sample_y = (np.arange((bottom - top) * _SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES + np.float32(top - y)
        inside, second = membership(*np.broadcast_arrays(sample_x[None], sample_y[:, None]))
        self.coverage = _pixel_means(inside)  # (h, w) in [0, 1]
        self.second_coverage = _pixel_means(inside & second)
        self.mask = self.coverage >= 0.5

    def paint(self, canvas: Canvas, first: Color, second: Color, shade: NDArray[np.float64]) -> None:
        """Blend the object over the image; `shade` is the change of brightness per pixel along (x, y)."""
        rows, columns = self.window
        light = (
            1
            + np.float32(shade[1]) * (np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(self.y))[:, None]
            + np.float32(shade[0]) * (np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(self.x))
        )
        first_part = ((self.coverage - self.second_coverage) * light)[..., None]
        second_part = (self.second_coverage * light)[..., None]
        behind = canvas.image[self.window] * (1 - self.coverage[..., None])
        canvas.image[self.window] = behind + first_part * first + second_part * second


def _pixel_means(samples: NDArray[np.bool_]) -> Floats:
    """Return the share (h, w) float32 of True among the samples (3h, 3w) of each pixel."""
    height, width = samples.shape[0] // _SAMPLES, samples.shape[1] // _SAMPLES
    blocks = samples.view(np.uint8).reshape(height, _SAMPLES, width, _SAMPLES)
    counts = sum((blocks[:, i, :, j] for i in range(_SAMPLES) for j in range(_SAMPLES)), np.uint8(0))
    return counts.astype(np.float32) / np.float32(_SAMPLES**2)
