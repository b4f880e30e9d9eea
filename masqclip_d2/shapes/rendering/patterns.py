"""The six patterns, as functions that test whether points have the second colour.

Coordinates (u, v) are in pattern periods, rotated by the pattern's angle and shifted by its phase. The result is a
boolean array of their shape. `ringed` is centred on the object.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Coordinates = NDArray[np.floating]
Second = NDArray[np.bool_]

_DOT_RADIUS = np.float32(0.34)  # periods: dots cover 36 % of the area
_CHECKS_PER_PERIOD = np.float32(1.6)  # a check is 0.62 periods wide, as visible as a stripe or dot
_ZIGZAG_LENGTH = np.float32(1.7)  # periods from tooth to tooth
_ZIGZAG_HEIGHT = np.float32(0.8)  # periods from the foot of a tooth to its tip


def _fraction(x: Coordinates) -> Coordinates:
    return x - np.floor(x)


def _plain(u: Coordinates, v: Coordinates) -> Second:
    return np.zeros(u.shape, dtype=bool)


def _striped(u: Coordinates, v: Coordinates) -> Second:
    return _fraction(v) < 0.5


def _dotted(u: Coordinates, v: Coordinates) -> Second:
    return (_fraction(u) - 0.5) ** 2 + (_fraction(v) - 0.5) ** 2 < _DOT_RADIUS**2


def _checkered(u: Coordinates, v: Coordinates) -> Second:
    return np.mod(np.floor(u * _CHECKS_PER_PERIOD) + np.floor(v * _CHECKS_PER_PERIOD), 2) == 0


def _ringed(u: Coordinates, v: Coordinates) -> Second:
    return _fraction(np.hypot(u, v)) < 0.5


def _zigzag(u: Coordinates, v: Coordinates) -> Second:
    tooth = np.abs(2 * _fraction(u / _ZIGZAG_LENGTH) - 1)  # 1 at the tip, 0 at the foot
    return _fraction(v + _ZIGZAG_HEIGHT * tooth) < 0.5


PATTERNS: dict[str, Callable[[Coordinates, Coordinates], Second]] = {
    "plain": _plain,
    "striped": _striped,
    "dotted": _dotted,
    "checkered": _checkered,
    "ringed": _ringed,
    "zigzag": _zigzag,
}

# Rings are centred on the object; the other patterns get a random phase.
CENTRED_PATTERNS = frozenset({"ringed"})
