"""Outlines of the six shapes, as functions that test whether points are inside.

Coordinates are in units of half the object's longer side (x to the right, y down, the object upright around the
origin). The result is a boolean array of their shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Coordinates = NDArray[np.floating]
Inside = NDArray[np.bool_]

_TRIANGLE_HALF_HEIGHT = np.float32(np.sqrt(3) / 2)  # equilateral, base 2
_STAR_ARM_HALF_ANGLE = np.float32(np.pi / 5)
_STAR_INNER_RADIUS = 0.45  # a regular pentagram has 0.38; a larger one leaves room for the pattern
_STAR_HALF_WIDTH = np.float32(np.sin(2 * np.pi / 5))  # of a star whose tips lie on the unit circle
_CROSS_HALF_WIDTH = np.float32(0.36)
_CRESCENT_HOLE_RADIUS = np.float32(0.84)
_CRESCENT_HOLE_OFFSET = np.float32(0.62)
_CRESCENT_SHIFT = np.float32(0.2)  # moves the crescent's body closer to the origin


def _circle(x: Coordinates, y: Coordinates) -> Inside:
    return x * x + y * y <= 1


def _square(x: Coordinates, y: Coordinates) -> Inside:
    return np.maximum(np.abs(x), np.abs(y)) <= 1


def _triangle(x: Coordinates, y: Coordinates) -> Inside:
    from_apex = y + _TRIANGLE_HALF_HEIGHT
    return (np.abs(x) * (2 * _TRIANGLE_HALF_HEIGHT) <= from_apex) & (from_apex <= 2 * _TRIANGLE_HALF_HEIGHT)


def _star(x: Coordinates, y: Coordinates) -> Inside:
    """Five arms, one upwards. Folded to half an arm, the edge is the line from the tip to the inner corner."""
    x, y = x * _STAR_HALF_WIDTH, y * _STAR_HALF_WIDTH
    angle = np.arctan2(x, -y)  # 0 at the upper tip
    folded = np.abs(np.mod(angle + _STAR_ARM_HALF_ANGLE, 2 * _STAR_ARM_HALF_ANGLE) - _STAR_ARM_HALF_ANGLE)
    radius = np.hypot(x, y)
    along, across = radius * np.cos(folded), radius * np.sin(folded)
    corner_along = np.float32(_STAR_INNER_RADIUS * np.cos(_STAR_ARM_HALF_ANGLE))
    corner_across = np.float32(_STAR_INNER_RADIUS * np.sin(_STAR_ARM_HALF_ANGLE))
    return across * (1 - corner_along) <= corner_across * (1 - along)


def _cross(x: Coordinates, y: Coordinates) -> Inside:
    x, y = np.abs(x), np.abs(y)
    return (np.minimum(x, y) <= _CROSS_HALF_WIDTH) & (np.maximum(x, y) <= 1)


def _crescent(x: Coordinates, y: Coordinates) -> Inside:
    x = x - _CRESCENT_SHIFT
    hole = (x - _CRESCENT_HOLE_OFFSET) ** 2 + y * y < _CRESCENT_HOLE_RADIUS**2
    return (x * x + y * y <= 1) & ~hole


OUTLINES: dict[str, Callable[[Coordinates, Coordinates], Inside]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
}
