"""Legends: names and colors to the right of an image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .colors import Color
from .fonts import fonts_of_characters
from .segmentation import shortened

_ROWS_PER_HEIGHT = 30  # of text in the height of an image ...
_MIN_TEXT, _MAX_TEXT = 13, 48  # ... whose letters have a height in pixels from to
_LINE = 1.6  # distance of lines, relative to the text's height
_MAX_NAME = 40  # characters


def with_legend(image: np.ndarray, entries: Sequence[tuple[str, Color]]) -> np.ndarray:
    """The image (H, W, 3) with a white column at its right that lists names and colors.

    Entries that do not fit into the height are counted: "and 12 more".
    """
    if not entries:
        return image
    height = image.shape[0]
    size = round(min(max(height / _ROWS_PER_HEIGHT, _MIN_TEXT), _MAX_TEXT))
    line = round(size * _LINE)
    most = max(1, (height - line) // line)
    shown: list[tuple[str, Color | None]] = [(shortened(name, _MAX_NAME), color) for name, color in entries[:most]]
    if len(entries) > most:
        shown[-1] = (f"and {len(entries) - most + 1} more", None)
    runs = [_runs(name, size) for name, _ in shown]
    widest = max(sum(font.getlength(text) for text, font in row) for row in runs)
    panel = Image.new("RGB", (round(widest) + 3 * size, height), "white")
    canvas = ImageDraw.Draw(panel)
    for row, ((_, color), texts) in enumerate(zip(shown, runs, strict=True)):
        y = line // 2 + row * line
        if color is not None:
            canvas.rectangle([size // 2, y, size // 2 + size, y + size], fill=color, outline="black")
        x = 2.0 * size
        for text, font in texts:
            canvas.text((x, y + size / 2), text, fill="black", font=font, anchor="lm")
            x += font.getlength(text)
    return np.concatenate([image, np.asarray(panel)], axis=1)


def _runs(text: str, size: int) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """Pieces of a text with their fonts."""
    import matplotlib

    default = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    fonts = fonts_of_characters([text])
    pieces = groupby(text, key=lambda character: fonts.get(character, default))
    return [("".join(characters), ImageFont.truetype(path, size)) for path, characters in pieces]
