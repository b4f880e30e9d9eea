"""Colors of categories."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

_GOLDEN_RATIO = 0.618034  # step between hues that keeps any number of them apart


def category_colors(count: int, chosen: Sequence[tuple[int, int, int] | None] = ()) -> list[tuple[float, float, float]]:
    """RGB in [0, 1] for each category index: the chosen color (0..255), else one that does not depend on `count`."""
    hues = ((index * _GOLDEN_RATIO) % 1.0 for index in range(count))
    colors = [colorsys.hsv_to_rgb(hue, 0.75 if index % 2 else 0.55, 0.95) for index, hue in enumerate(hues)]
    for index, color in enumerate(chosen):
        if color is not None:
            red, green, blue = color
            colors[index] = (red / 255, green / 255, blue / 255)
    return colors
