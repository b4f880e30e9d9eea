"""Canvas with the segment of each pixel, and super-sampled objects that are painted on it.

A pixel belongs to an object that covers at least half of it; colours are blended by coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...categories import Category
from .frame import Frame

_SAMPLES = {1: 3}  # per pixel and axis, by scale
_SAMPLES_AT_LARGER_SCALES = 2

Floats = NDArray[np.floating]  # float32 in practice
Color = Floats  # (3,) RGB in [0, 1]
# Offsets (dx, dy) in units from an object's centre -> (inside the object, has its second colour).
Membership = Callable[[Floats, Floats], tuple[NDArray[np.bool_], NDArray[np.bool_]]]


@dataclass(frozen=True)
class Segment:
    """A labelled region of a scene. `object_size` is the longer side of the drawn object in units, 0 for stuff."""

    category: Category
    object_size: float


class Canvas:
    """Image under construction, (H, W, 3) float32 in [0, 1], with the segment of each pixel. Areas are in pixels."""

    def __init__(self, frame: Frame, image: Floats, segment_map: NDArray[np.uint8], segments: list[Segment]) -> None:
        self.frame = frame
        self.image = image
        self.segment_map = segment_map
        self.segments = segments
        # Visible pixels of void and of each segment.
        self.areas: list[int] = np.bincount(segment_map.ravel(), minlength=len(segments) + 1).tolist()
        self.full_areas = list(self.areas)  # without occlusion by later objects

    def mean_color_around(self, x: float, y: float, radius: float) -> Color:
        """Return the mean colour of a square window around a point; arguments in units."""
        rows, columns = (slice(*self._window(center, radius)) for center in (y, x))
        return self.image[rows, columns].reshape(-1, 3).mean(axis=0)

    def _window(self, center: float, radius: float) -> tuple[int, int]:
        scale = self.frame.scale
        return max(int((center - radius) * scale), 0), max(int((center + radius) * scale) + 1, 1)

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
    """An object, super-sampled in a window of the frame that contains it.

    Args:
        frame: the frame; the object may lie partly outside.
        x, y: its center, in units.
        radius: of a circle around the center that contains it, in units.
        membership: the object.
    """

    def __init__(self, frame: Frame, x: float, y: float, radius: float, membership: Membership) -> None:
        height, width = frame.pixels
        self.x, self.y, self.scale = x, y, frame.scale
        self._samples = _SAMPLES.get(frame.scale, _SAMPLES_AT_LARGER_SCALES)
        top, bottom = max(int((y - radius) * self.scale), 0), min(int((y + radius) * self.scale) + 2, height)
        left, right = max(int((x - radius) * self.scale), 0), min(int((x + radius) * self.scale) + 2, width)
        self.window = (slice(top, bottom), slice(left, right))
        sample_x = self._offsets(left, right, x)
        sample_y = self._offsets(top, bottom, y)
        inside, second = membership(*np.broadcast_arrays(sample_x[None], sample_y[:, None]))
        self.coverage = _pixel_means(inside, self._samples)  # (h, w) in [0, 1]
        self.second_coverage = _pixel_means(inside & second, self._samples)
        self.mask = self.coverage >= 0.5

    def _offsets(self, start: int, stop: int, center: float) -> Floats:
        """Offsets in units from the center of the samples of the pixels `start` to `stop` along one axis."""
        steps = (np.arange((stop - start) * self._samples, dtype=np.float32) + 0.5) / (self._samples * self.scale)
        return steps + np.float32(start / self.scale - center)

    def paint(self, canvas: Canvas, first: Color, second: Color, shade: NDArray[np.float64]) -> None:
        """Blend the object over the image; `shade` is the change of brightness per unit along (x, y)."""
        rows, columns = self.window
        light = (
            1
            + np.float32(shade[1]) * (canvas.frame.y[rows] - np.float32(self.y))
            + np.float32(shade[0]) * (canvas.frame.x[columns] - np.float32(self.x))
        )
        first_part = ((self.coverage - self.second_coverage) * light)[..., None]
        second_part = (self.second_coverage * light)[..., None]
        behind = canvas.image[self.window] * (1 - self.coverage[..., None])
        canvas.image[self.window] = behind + first_part * first + second_part * second


def _pixel_means(inside: NDArray[np.bool_], samples: int) -> Floats:
    """Return the share (h, w) float32 of True among the samples (h * samples, w * samples) of each pixel."""
    height, width = inside.shape[0] // samples, inside.shape[1] // samples
    blocks = inside.view(np.uint8).reshape(height, samples, width, samples)
    counts = sum((blocks[:, i, :, j] for i in range(samples) for j in range(samples)), np.uint8(0))
    return counts.astype(np.float32) / np.float32(samples**2)
