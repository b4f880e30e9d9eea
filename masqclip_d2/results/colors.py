"""Colors of categories and of their instances.

The color of a category depends on its name and on which other names the vocabulary has, not on their order nor on the
image. Each name prefers one of `PALETTE` by its hash; if two names prefer the same one, the name with the lower hash
has it and the other takes the next one that is free. Further names, beyond the 20 of the palette, have a color from
their hash. No two names of a vocabulary have the same color, unless its own `colors` say so.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from functools import lru_cache

from ..vocabulary import Vocabulary
from ..vocabulary.vocabulary import fold

Color = tuple[int, int, int]  # RGB, 0..255

PALETTE: tuple[Color, ...] = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0), (86, 180, 233),
    (136, 34, 51), (136, 255, 238), (68, 0, 221), (153, 102, 255), (170, 204, 153), (102, 34, 153), (153, 68, 119),
    (187, 34, 0), (102, 221, 221), (187, 238, 170), (136, 34, 255), (204, 0, 170), (119, 51, 102),
)  # fmt: skip
"""The seven colors of Okabe and Ito, and 13 that were chosen so that any two of the 20 differ by at least 0.07 in
OKLab, both as they are and as protanopes, deuteranopes and tritanopes see them (0.076 for the first seven alone)."""

# Shares of white (above 0) or black (below 0) in the colors of the first, second, ... instance of a category ...
_SHADES = (0.0, 0.4, -0.3, 0.2, -0.15, 0.55, -0.42)
_BRIGHT = 160  # ... the other way round for colors of at least this luminance, which are almost white already


def category_colors(vocabulary: Vocabulary) -> list[Color]:
    """The color of each category: that of the vocabulary, else by the rule above."""
    return list(_category_colors(vocabulary.names, vocabulary.colors))


def shade(color: Color, index: int) -> Color:
    """The color of the instance `index` of a category, counted from 0; the first one has the category's color."""
    share = _SHADES[index % len(_SHADES)]
    if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] >= _BRIGHT:
        share = -share
    target = 255 if share > 0 else 0
    red, green, blue = (round(value + abs(share) * (target - value)) for value in color)
    return red, green, blue


def instance_colors(vocabulary: Vocabulary, category_ids: Sequence[int]) -> list[Color]:
    """A color for each segment, given its category: instances of one category differ in shade."""
    colors, counts = category_colors(vocabulary), dict.fromkeys(category_ids, -1)
    found = []
    for category in category_ids:
        counts[category] += 1
        found.append(shade(colors[category], counts[category]))
    return found


@lru_cache(maxsize=8)
def _category_colors(names: tuple[str, ...], chosen: tuple[Color | None, ...]) -> tuple[Color, ...]:
    hashes = [_hash(name) for name in names]
    own = chosen or (None,) * len(names)
    color_of: dict[int, Color] = {}
    used = {color for color in own if color is not None}
    free = [color not in used for color in PALETTE]
    for index in sorted(range(len(names)), key=lambda index: hashes[index]):
        color = own[index]
        if color is None:
            color = _from_palette(hashes[index], free) or _unused(names[index], used)
            used.add(color)
        color_of[index] = color
    return tuple(color_of[index] for index in range(len(names)))


def _from_palette(number: int, free: list[bool]) -> Color | None:
    for step in range(len(PALETTE)):
        slot = (number + step) % len(PALETTE)
        if free[slot]:
            free[slot] = False
            return PALETTE[slot]
    return None


def _unused(name: str, used: set[Color]) -> Color:
    """A color from the hash of the name that no other name has."""
    attempt = 0
    while True:
        number = _hash(f"{name}\n{attempt}")
        hue, saturation, value = number % 997 / 997, 0.4 + number // 997 % 61 / 100, 0.6 + number // 60817 % 41 / 100
        red, green, blue = colorsys.hsv_to_rgb(hue, min(saturation, 1.0), min(value, 1.0))
        color = (round(255 * red), round(255 * green), round(255 * blue))
        if color not in used:
            return color
        attempt += 1


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(fold(name).encode("utf-8", "surrogatepass")).digest()[:8], "big")
