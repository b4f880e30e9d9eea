"""Appearance of objects in the Shapes world: pose, pattern and colours; also distractors.

An object is a function of offsets in units from its centre (`Membership`), so that it can be sampled anywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .canvas import Color, Membership
from .outlines import OUTLINES
from .patterns import CENTRED_PATTERNS, PATTERNS

MIN_OBJECT_SIZE, MAX_OBJECT_SIZE = 8.0, 96.0  # units, longer side
# Longer sides of objects: (low, high, share of the objects), log-uniform in between.
SizeRanges = tuple[tuple[float, float, float], ...]
SCENE_SIZES: SizeRanges = ((MIN_OBJECT_SIZE, 24.0, 0.25), (24.0, 64.0, 0.55), (64.0, MAX_OBJECT_SIZE, 0.20))
CLOSEUP_SIZES: SizeRanges = ((14.0, 72.0, 1.0),)  # from barely recognizable to larger than the frame of 64
CLEAR_SIZES: SizeRanges = ((20.0, 96.0, 1.0),)  # the subject of a photograph
MAX_ROTATION_DEGREES = 30.0  # squares do not become diamonds

_PATTERN_PERIOD = (0.20, 0.34)  # share of the object's size
_MIN_PATTERN_PERIOD = 3.5  # units; smaller patterns blur to their mean colour
_CAMOUFLAGE_SHARE = 0.35  # share of objects with one colour close to their background
_CAMOUFLAGE = (0.12, 0.30)  # Euclidean distance in RGB, at most sqrt(3); less would make the outline invisible
_LOW_CONTRAST_SHARE = 0.50  # share of objects with two similar colours
_LOW_CONTRAST = (0.28, 0.45)
_MIN_CONTRAST = 0.28
_CLEAR_CONTRAST = 0.45


def random_object_size(rng: Generator, ranges: SizeRanges) -> float:
    """Draw the longer side of an object, in units."""
    low, high, _ = ranges[rng.choice(len(ranges), p=[share for _, _, share in ranges])]
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def patterned_object(rng: Generator, shape: str, pattern: str, size: float, upright: bool = False) -> Membership:
    """Draw the pose of an object. Its longer side is `size` units before rotation.

    `upright`: the object and its pattern are neither rotated nor squeezed.
    """
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
    if upright:
        cos = pattern_cos = stretch_x = stretch_y = np.float32(1)
        sin = pattern_sin = np.float32(0)
    outline, second = OUTLINES[shape], PATTERNS[pattern]

    def membership(dx, dy):
        x = (cos * dx + sin * dy) * (mirror / (half * stretch_x))
        y = (cos * dy - sin * dx) / (half * stretch_y)
        u = (pattern_cos * dx + pattern_sin * dy) / period + np.float32(phase_u)
        v = (pattern_cos * dy - pattern_sin * dx) / period + np.float32(phase_v)
        return outline(x, y), second(u, v)

    return membership


def full_area(membership: Membership, size: float) -> float:
    """Return the area of the whole object in square units, inside the frame or not; from 48 x 48 samples."""
    side = np.float32(size * np.sqrt(2))  # contains the object in any pose
    offsets = side * ((np.arange(48, dtype=np.float32) + 0.5) / 48 - 0.5)
    inside, _ = membership(*np.broadcast_arrays(offsets[None], offsets[:, None]))
    return float(inside.mean() * side * side)


def object_colors(rng: Generator, behind: Color, plain: bool) -> tuple[Color, Color]:
    """Draw the two colours of an object. A plain one shows only the first, which then must differ from `behind`."""
    if rng.random() < _CAMOUFLAGE_SHARE:
        distance = rng.uniform(*_LOW_CONTRAST) if plain else rng.uniform(*_CAMOUFLAGE)
        first = _color_at_distance(rng, behind, distance)
    else:
        first = _color_beyond(rng, behind, _MIN_CONTRAST if plain else 0.0)
    if rng.random() < _LOW_CONTRAST_SHARE:
        return first, _color_at_distance(rng, first, rng.uniform(*_LOW_CONTRAST))
    return first, _color_beyond(rng, first, _MIN_CONTRAST)


def clear_colors(rng: Generator, behind: Color) -> tuple[Color, Color]:
    """Draw two colours that are far from each other, the first also far from `behind`."""
    first = _color_beyond(rng, behind, _CLEAR_CONTRAST)
    return first, _color_beyond(rng, first, _CLEAR_CONTRAST)


def light_and_dark_colors(rng: Generator) -> tuple[Color, Color]:
    """Draw a light and a dark color."""
    light, dark = rng.uniform(0.65, 0.97, 3), rng.uniform(0.03, 0.35, 3)
    return light.astype(np.float32), dark.astype(np.float32)


def _color_at_distance(rng: Generator, color: Color, distance: float) -> Color:
    """Draw a colour at a distance in RGB, or a little less at the boundary of the colour cube."""
    directions = rng.standard_normal((6, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    candidates = np.clip(color + directions * np.float32(distance), 0.03, 0.97)
    return candidates[np.argmax(np.linalg.norm(candidates - color, axis=1))]


def _color_beyond(rng: Generator, color: Color, min_distance: float) -> Color:
    """Draw a colour of random saturation at a distance of at least `min_distance` in RGB."""
    candidates = rng.uniform(0.03, 0.97, (16, 3)).astype(np.float32)
    grey = candidates.mean(axis=1, keepdims=True)
    candidates = grey + (candidates - grey) * np.float32(rng.uniform(0.3, 1))
    distance = np.linalg.norm(candidates - color, axis=1)
    return candidates[np.argmax(np.minimum(distance, min_distance))]  # the first far enough, else the farthest


def speck(rng: Generator, radius: float) -> Membership:
    """Draw a small blob with 2 to 4 lobes."""
    lobes, phase, depth = int(rng.integers(2, 5)), rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.4)

    def membership(dx, dy):
        edge = radius * (1 - depth * (0.5 + 0.5 * np.sin(lobes * np.arctan2(dy, dx) + phase)))
        return np.hypot(dx, dy) <= edge, np.zeros(dx.shape, dtype=bool)

    return membership


def line(rng: Generator, half_length: float) -> Membership:
    """Draw a thin, slightly bent line."""
    angle, half_width, bend = rng.uniform(0, np.pi), rng.uniform(0.5, 1.2), rng.uniform(-0.02, 0.02)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))

    def membership(dx, dy):
        along, across = cos * dx + sin * dy, cos * dy - sin * dx
        inside = (np.abs(along) <= half_length) & (np.abs(across - bend * along * along) <= half_width)
        return inside, np.zeros(dx.shape, dtype=bool)

    return membership
