"""The six kinds of stuff, as textures that fill a frame.

A texture takes a random generator and a frame and returns (H, W, 3) float32 RGB in [0, 1]; lengths are in units. The
colors of different kinds overlap (a sunset sky is as red as brick, dry grass as yellow as sand), so that the texture
matters as much as the color.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .frame import Frame, positions

# float32 in practice
Image = NDArray[np.floating]  # (H, W, 3)
Plane = NDArray[np.floating]  # (H, W)


def smooth_noise(rng: Generator, frame: Frame, cell_hw: tuple[float, float]) -> Plane:
    """Interpolate random values at the corners of cells of `cell_hw` units smoothly: (H, W) in [0, 1]."""
    rows, row_weights = _cell_positions(rng, frame.height, cell_hw[0], frame.scale)
    columns, column_weights = _cell_positions(rng, frame.width, cell_hw[1], frame.scale)
    corners = rng.random((rows[-1] + 2, columns[-1] + 2), dtype=np.float32)
    across = corners[:, columns] + (corners[:, columns + 1] - corners[:, columns]) * column_weights
    upper = across[rows]
    return upper + (across[rows + 1] - upper) * row_weights[:, None]


def _cell_positions(
    rng: Generator, length: int, cell: float, scale: int
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Return the cell index of each pixel and its smooth-step weight towards the next cell, with a random phase."""
    position = positions(length, scale) / np.float32(cell) + rng.random(dtype=np.float32)
    index = np.floor(position)
    t = position - index
    return index.astype(np.int64), t * t * (3 - 2 * t)


def _tilted_grid(rng: Generator, frame: Frame, max_degrees: float) -> tuple[Plane, Plane]:
    """Return coordinates (x, y) in units, rotated by a random angle of at most `max_degrees`."""
    angle = np.deg2rad(rng.uniform(-max_degrees, max_degrees))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    y, x = frame.y, frame.x
    return cos * x + sin * y, cos * y - sin * x


def _palette(rng: Generator, *colors: tuple[float, float, float], jitter: float = 0.06) -> NDArray[np.floating]:
    """Mix two of the kind's colours at random, with jitter: (3,) in [0, 1]."""
    first, second = rng.choice(len(colors), 2, replace=False)
    mix = rng.random()
    color = np.array(colors[first]) * mix + np.array(colors[second]) * (1 - mix)
    return np.clip(color + rng.uniform(-jitter, jitter, 3), 0.02, 0.98).astype(np.float32)


def _between(t: Plane, low: NDArray[np.floating], high: NDArray[np.floating]) -> Image:
    """Blend from `low` where t is 0 to `high` where t is 1."""
    return low + t[..., None] * (high - low)


def _grass(rng: Generator, frame: Frame) -> Image:
    blades = smooth_noise(rng, frame, (rng.uniform(5, 9), rng.uniform(1.2, 2.2)))
    patches = smooth_noise(rng, frame, (25, 25))
    dark = _palette(rng, (0.10, 0.30, 0.08), (0.22, 0.30, 0.10), (0.30, 0.28, 0.10))
    light = _palette(rng, (0.35, 0.65, 0.20), (0.55, 0.65, 0.25), (0.70, 0.65, 0.35))
    return _between(0.75 * blades + 0.25 * patches, dark, light)


def _water(rng: Generator, frame: Frame) -> Image:
    x, y = _tilted_grid(rng, frame, 12)
    bend = smooth_noise(rng, frame, (14, 30)) * 9 + np.sin(x * np.float32(2 * np.pi / rng.uniform(18, 40))) * 1.5
    ripples = 0.5 + 0.5 * np.sin((y + bend) * np.float32(2 * np.pi / rng.uniform(7, 14)))
    deep = _palette(rng, (0.05, 0.20, 0.40), (0.10, 0.30, 0.35), (0.20, 0.28, 0.32))
    crest = _palette(rng, (0.40, 0.65, 0.85), (0.45, 0.70, 0.65), (0.60, 0.65, 0.68))
    return _between(ripples * ripples * smooth_noise(rng, frame, (10, 22)), deep, crest)


def _sand(rng: Generator, frame: Frame) -> Image:
    grains = rng.random(frame.pixels, dtype=np.float32)
    dunes = smooth_noise(rng, frame, (12, 40))
    dark = _palette(rng, (0.60, 0.48, 0.28), (0.55, 0.45, 0.38), (0.62, 0.55, 0.35))
    light = _palette(rng, (0.92, 0.84, 0.60), (0.88, 0.76, 0.66), (0.85, 0.85, 0.70))
    return _between(0.5 * grains + 0.5 * dunes, dark, light)


def _brick(rng: Generator, frame: Frame) -> Image:
    x, y = _tilted_grid(rng, frame, 8)
    height = np.float32(rng.uniform(8, 15))
    width = height * np.float32(rng.uniform(1.8, 2.6))
    joint = np.float32(rng.uniform(1.2, 2.4))
    row = np.floor(y / height)
    shifted = x / width + np.float32(0.5) * np.mod(row, 2)
    column = np.floor(shifted)
    # Distances to the nearest joints, in units; clipping them anti-aliases the edges.
    to_joint = height / 2 - np.abs(y - (row + np.float32(0.5)) * height)
    to_side = (0.5 - np.abs(shifted - column - np.float32(0.5))) * width
    is_brick = np.clip((np.minimum(to_joint, to_side) - joint / 2) * frame.scale + 0.5, 0, 1)
    shades = rng.random(257, dtype=np.float32)
    shade = shades[np.mod(row * 31 + column * 17, 257).astype(np.int64)]
    dark = _palette(rng, (0.45, 0.16, 0.12), (0.42, 0.28, 0.18), (0.38, 0.36, 0.36))
    light = _palette(rng, (0.72, 0.34, 0.25), (0.70, 0.52, 0.34), (0.62, 0.60, 0.58))
    mortar = _palette(rng, (0.78, 0.76, 0.72), (0.60, 0.58, 0.55), (0.30, 0.28, 0.27))
    bricks = _between(0.7 * shade + 0.3 * smooth_noise(rng, frame, (3, 3)), dark, light)
    return mortar + is_brick[..., None] * (bricks - mortar)


def _sky(rng: Generator, frame: Frame) -> Image:
    y = np.linspace(0, 1, frame.pixels[0], dtype=np.float32)[:, None]
    horizon = _palette(rng, (0.75, 0.88, 0.97), (0.95, 0.70, 0.50), (0.80, 0.80, 0.82))
    zenith = _palette(rng, (0.25, 0.50, 0.88), (0.40, 0.35, 0.60), (0.52, 0.58, 0.66))
    cloud = _palette(rng, (0.96, 0.96, 0.97), (0.85, 0.82, 0.84), (0.95, 0.85, 0.80))
    billows = 0.65 * smooth_noise(rng, frame, (22, 40)) + 0.35 * smooth_noise(rng, frame, (9, 16))
    cover = np.clip((billows - np.float32(rng.uniform(0.40, 0.65))) * 3.5, 0, 1)
    image = _between(np.broadcast_to(y, frame.pixels), zenith, horizon)
    return image + cover[..., None] * (cloud - image)


def _wood(rng: Generator, frame: Frame) -> Image:
    x, y = _tilted_grid(rng, frame, 8)
    if rng.random() < 0.5:
        x, y = y, x
    grain = smooth_noise(rng, frame, (30, 30)) * np.float32(rng.uniform(12, 28))
    rings = 0.5 + 0.5 * np.sin((y + grain) * np.float32(2 * np.pi / rng.uniform(4, 9)))
    plank = np.float32(rng.uniform(20, 45))
    to_gap = plank * (0.5 - np.abs(np.mod(y / plank, 1) - np.float32(0.5)))
    dark = _palette(rng, (0.30, 0.18, 0.08), (0.42, 0.30, 0.16), (0.34, 0.30, 0.26))
    light = _palette(rng, (0.62, 0.42, 0.22), (0.82, 0.66, 0.42), (0.66, 0.62, 0.56))
    image = _between(rings * 0.8 + 0.2 * smooth_noise(rng, frame, (4, 4)), dark, light)
    return image * np.clip(to_gap, 0.35, 1)[..., None]


TEXTURES: dict[str, Callable[[Generator, Frame], Image]] = {
    "grass": _grass,
    "water": _water,
    "sand": _sand,
    "brick": _brick,
    "sky": _sky,
    "wood": _wood,
}
