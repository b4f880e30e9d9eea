"""Masks as polygons, with holes and several parts.

Formats without holes get one outline per part, into which each hole is joined by a bridge: a line to the hole and back,
which encloses nothing. Filled by the even-odd rule, the outline is the mask again.

Shape shorthand: an outline is (N, 2), x and y of its corners; H x W pixels of the mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.float64]


@dataclass
class Part:
    """A connected part of a mask.

    Args:
        outline: its outer boundary.
        holes: boundaries of its holes.
    """

    outline: Outline
    holes: list[Outline] = field(default_factory=list)


def pixel_edges(mask: NDArray[np.bool_], tolerance: float = 0.0) -> list[Part]:
    """The parts of a mask, with boundaries along the edges of its pixels.

    Such polygons are exact: their area is the number of pixels, and pycocotools makes the same mask of them. Pixels
    that touch at a corner only belong to different parts.

    Args:
        mask: (H, W) bool.
        tolerance: in pixels; boundaries with fewer corners, up to this far away.

    Returns:
        Parts from top to bottom. Pixel (0, 0) has the corners (0, 0) and (1, 1).
    """
    box = _box(mask)
    if box is None:
        return []
    top, left, inside = box
    outer, inner = _loops(inside)
    parts = {label: Part(np.zeros((0, 2))) for _, label in outer}
    for loop, label in outer:
        parts[label].outline = _simplified(loop + (left, top), tolerance)
    for loop, label in inner:
        hole = _simplified(loop + (left, top), tolerance)
        if len(hole) >= 3:
            parts[label].holes.append(hole)
    return [part for part in parts.values() if len(part.outline) >= 3]


def pixel_centers(mask: NDArray[np.bool_], tolerance: float = 0.0) -> list[Part]:
    """The parts of a mask, with boundaries through the centers of its outermost pixels.

    For readers that fill polygons with OpenCV, which makes the same mask of them. Its coordinates are the indices of
    pixels: pixel (0, 0) has its center at (0, 0).
    """
    import cv2

    box = _box(mask)
    if box is None:
        return []
    top, left, inside = box
    # A line and a pixel have a boundary too, of two points or one.
    found, hierarchy = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, Part] = {}
    for index, (contour, (_, _, _, parent)) in enumerate(zip(found, hierarchy[0], strict=True)):
        outline = _simplified(contour[:, 0].astype(np.float64) + (left, top), tolerance)
        if parent < 0:
            parts[index] = Part(outline)
    for contour, (_, _, _, parent) in zip(found, hierarchy[0], strict=True):
        if parent >= 0:
            hole = _simplified(contour[:, 0].astype(np.float64) + (left, top), tolerance)
            parts[parent].holes.append(hole)
    return list(parts.values())


def with_bridges(part: Part) -> Outline:
    """One outline of a part and its holes; a hole is joined where it is closest to a corner of the outer boundary."""
    if not part.holes:
        return part.outline
    joints = sorted(_closest(part.outline, part.holes), key=lambda joint: joint[0])
    pieces, begin = [], 0
    for at, start, hole in joints:
        pieces += [part.outline[begin : at + 1], _rotated(hole, start)]
        begin = at
    return np.concatenate([*pieces, part.outline[begin:]])


def one_outline(parts: list[Part]) -> Outline:
    """One outline of all parts and holes, for formats with one polygon per segment; bridges lead from part to part."""
    outlines = [with_bridges(part) for part in parts]
    there, back = [], []
    current = outlines[0]
    for following in outlines[1:]:
        [(at, start, _)] = _closest(current, [following])
        there.append(current[: at + 1])
        back.append(current[at:])
        current = _rotated(following, start)
    return np.concatenate([*there, current, *reversed(back)])


def _rotated(outline: Outline, start: int) -> Outline:
    """The outline from a corner around and back to that corner."""
    return np.concatenate([outline[start:], outline[: start + 1]])


def _closest(outline: Outline, others: list[Outline]) -> list[tuple[int, int, Outline]]:
    """For each of the others the indices of the corners of both that are closest to each other, and itself."""
    from scipy.spatial import KDTree

    found: Any = KDTree(outline).query(np.concatenate(others))
    ends = np.cumsum([len(other) for other in others])[:-1]
    joints = []
    for other, distances, nearest in zip(others, np.split(found[0], ends), np.split(found[1], ends), strict=True):
        start = int(np.argmin(distances))
        joints.append((int(nearest[start]), start, other))
    return joints


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, NDArray[np.bool_]] | None:
    """Top, left and content of the box of a mask; None without a pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    return top, left, mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(bool)


def _simplified(outline: Outline, tolerance: float) -> Outline:
    import cv2

    if tolerance <= 0:
        return outline
    return cv2.approxPolyDP(outline[:, None].astype(np.float32), tolerance, True)[:, 0].astype(np.float64)


def _loops(inside: NDArray[np.bool_]) -> tuple[list[tuple[Outline, int]], list[tuple[Outline, int]]]:
    """Closed boundaries along pixel edges, with the connected part that they bound: outer ones, and those of holes.

    A boundary keeps the pixels of its part to its right, so that outer ones are clockwise. Only corners are visited:
    in a row of corners the first and second, third and fourth, ... are the ends of an edge, and so in a column.
    """
    import cv2

    _, labels = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
    pixels = np.pad(inside, 1)
    nw, ne, sw, se = pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, :-1], pixels[1:, 1:]
    turns = (nw ^ ne) ^ (sw ^ se)
    crossing = (nw == se) & (ne == sw) & (nw != ne)  # two pixels that touch at this corner, which is two corners
    ys, xs = np.nonzero(turns | crossing)
    twice = crossing[ys, xs]
    order = np.repeat(np.arange(len(ys)), 1 + twice)
    ys, xs, twice = ys[order], xs[order], twice[order]
    count = len(ys)
    second = np.zeros(count, dtype=bool)  # the corner on the right side of a double one
    second[1:] = order[1:] == order[:-1]
    across = np.arange(count) ^ 1  # the other end of the edge in the row; corners are sorted by row, then column
    # Below the right one of a double corner is its column's next edge where the pixels are north west and south east.
    is_lower = np.where(nw[ys, xs], second, ~second) & twice
    by_column = np.lexsort((is_lower, ys, xs))
    along = np.empty(count, dtype=np.int64)  # the other end of the edge in the column
    along[by_column] = by_column[np.arange(count) ^ 1]
    outer, inner = [], []
    visited = np.zeros(count, dtype=bool)
    across_of, along_of = across.tolist(), along.tolist()
    for first in range(count):
        if visited[first]:
            continue
        y, x = int(ys[first]), int(xs[first])  # top left corner of the boundary: its edges go right and down
        loop, corner = [], first
        while True:
            loop.append(corner)
            corner = across_of[corner]
            loop.append(corner)
            corner = along_of[corner]
            if corner == first:
                break
        visited[loop] = True
        points = np.stack([xs[loop], ys[loop]], axis=1).astype(np.float64)
        if inside[y, x]:
            outer.append((points, int(labels[y, x])))
        else:
            inner.append((points[::-1], int(labels[y - 1, x])))
    return outer, inner
