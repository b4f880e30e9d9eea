"""What an object of the Shapes world looks like: pose, pattern and colours; and distractors, which are no objects.

An object is a function of offsets in pixels from its middle (`Membership`), so that it can be sampled anywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .canvas import Color, Membership
from .outlines import OUTLINES
from .patterns import CENTRED_PATTERNS, PATTERNS

MIN_OBJECT_SIZE, MAX_OBJECT_SIZE = 8.0, 96.0  # pixels, longer side
# Longer sides of objects: (low, high, share of the objects), log-uniform in between.
SizeRanges = tuple[tuple[float, float, float], ...]
SCENE_SIZES: SizeRanges = ((MIN_OBJECT_SIZE, 24.0, 0.25), (24.0, 64.0, 0.55), (64.0, MAX_OBJECT_SIZE, 0.20))
CLOSEUP_SIZES: SizeRanges = ((14.0, 72.0, 1.0),)  # from "just readable" to more than the 64-pixel frame
CLEAR_SIZES: SizeRanges = ((20.0, 96.0, 1.0),)  # things that a photographer would call the subject
MAX_ROTATION_DEGREES = 30.0  # squares and their diamonds stay apart

_PATTERN_PERIOD = (0.20, 0.34)  # of the object's size
_MIN_PATTERN_PERIOD = 3.5  # pixels; below, a pattern turns into a mean colour
_CAMOUFLAGE_SHARE = 0.35  # objects with one colour close to what lies behind them
_CAMOUFLAGE = (0.12, 0.30)  # Euclidean distance in RGB, of at most sqrt(3); below, nobody would see the outline
_LOW_CONTRAST_SHARE = 0.50  # objects whose two colours are close to each other
_LOW_CONTRAST = (0.28, 0.45)
_MIN_CONTRAST = 0.28
_CLEAR_CONTRAST = 0.45


def random_object_size(rng: Generator, ranges: SizeRanges) -> float:
    """Longer side in pixels."""
    low, high, _ = ranges[rng.choice(len(ranges), p=[share for _, _, share in ranges])]
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def patterned_object(rng: Generator, shape: str, pattern: str, size: float) -> Membership:
    """Fix an object's pose. Its longer side is `size` pixels before it is turned."""
    half = np.float32(size / 2)
    turn = np.deg2rad(rng.uniform(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES))
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    squeeze = np.float32(rng.uniform(0.85, 1.0))  # of the shorter side
    stretch_x, stretch_y = (1, squeeze) if rng.random() < 0.5 else (squeeze, 1)
    mirror = np.float32(rng.choice((-1, 1)))
    period = np.float32(max(size * rng.uniform(*_PATTERN_PERIOD), _MIN_PATTERN_PERIOD))
    pattern_turn = rng.uniform(0, np.pi)
    pattern_cos, pattern_sin = np.float32(np.cos(pattern_turn)), np.float32(np.sin(pattern_turn))
    phase_u, phase_v = (0.0, 0.0) if pattern in CENTRED_PATTERNS else rng.random(2)
    outline, second = OUTLINES[shape], PATTERNS[pattern]

    def membership(dx, dy):
        x = (cos * dx + sin * dy) * (mirror / (half * stretch_x))
        y = (cos * dy - sin * dx) / (half * stretch_y)
        u = (pattern_cos * dx + pattern_sin * dy) / period + np.float32(phase_u)
        v = (pattern_cos * dy - pattern_sin * dx) / period + np.float32(phase_v)
        return outline(x, y), second(u, v)

    return membership


def full_area(membership: Membership, size: float) -> float:
    """Area in pixels of the whole object, also where the frame would cut it; from 48 x 48 samples."""
    side = np.float32(size * np.sqrt(2))  # holds the object in any pose
    offsets = side * ((np.arange(48, dtype=np.float32) + 0.5) / 48 - 0.5)
    inside, _ = membership(*np.broadcast_arrays(offsets[None], offsets[:, None]))
    return float(inside.mean() * side * side)


def object_colors(rng: Generator, behind: Color, plain: bool) -> tuple[Color, Color]:
    """First and second colour of an object. A plain one only shows its first, which then must differ from `behind`."""
    if rng.random() < _CAMOUFLAGE_SHARE:
        distance = rng.uniform(*_LOW_CONTRAST) if plain else rng.uniform(*_CAMOUFLAGE)
        first = _color_at_distance(rng, behind, distance)
    else:
        first = _color_beyond(rng, behind, _MIN_CONTRAST if plain else 0.0)
    if rng.random() < _LOW_CONTRAST_SHARE:
        return first, _color_at_distance(rng, first, rng.uniform(*_LOW_CONTRAST))
    return first, _color_beyond(rng, first, _MIN_CONTRAST)


def clear_colors(rng: Generator, behind: Color) -> tuple[Color, Color]:
    """Two colours of an object that are far from each other, the first far from `behind` too."""
    first = _color_beyond(rng, behind, _CLEAR_CONTRAST)
    return first, _color_beyond(rng, first, _CLEAR_CONTRAST)


def _color_at_distance(rng: Generator, color: Color, distance: float) -> Color:
    """A colour `distance` away in RGB, or a little less where the cube of colours ends."""
    directions = rng.standard_normal((6, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    candidates = np.clip(color + directions * np.float32(distance), 0.03, 0.97)
    return candidates[np.argmax(np.linalg.norm(candidates - color, axis=1))]


def _color_beyond(rng: Generator, color: Color, min_distance: float) -> Color:
    """A random colour at least `min_distance` away in RGB, of random saturation."""
    candidates = rng.uniform(0.03, 0.97, (16, 3)).astype(np.float32)
    grey = candidates.mean(axis=1, keepdims=True)
    candidates = grey + (candidates - grey) * np.float32(rng.uniform(0.3, 1))
    distance = np.linalg.norm(candidates - color, axis=1)
    return candidates[np.argmax(np.minimum(distance, min_distance))]  # the first far enough, else the farthest


def speck(rng: Generator, radius: float) -> Membership:
    lobes, phase, depth = int(rng.integers(2, 5)), rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.4)

    def membership(dx, dy):
        edge = radius * (1 - depth * (0.5 + 0.5 * np.sin(lobes * np.arctan2(dy, dx) + phase)))
        return np.hypot(dx, dy) <= edge, np.zeros(dx.shape, dtype=bool)

    return membership


def line(rng: Generator, half_length: float) -> Membership:
    angle, half_width, bend = rng.uniform(0, np.pi), rng.uniform(0.5, 1.2), rng.uniform(-0.02, 0.02)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))

    def membership(dx, dy):
        along, across = cos * dx + sin * dy, cos * dy - sin * dx
        inside = (np.abs(along) <= half_length) & (np.abs(across - bend * along * along) <= half_width)
        return inside, np.zeros(dx.shape, dtype=bool)

    return membership
