"""A line of text on an image, with fonts for the characters that the default font lacks."""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

_BITMAP_SIZES = (109, 136, 128, 160, 137, 96, 64, 48, 40, 32, 20)  # pixels, of fonts of color bitmaps


@functools.lru_cache
def font_of_height(pixels: int) -> ImageFont.FreeTypeFont:
    # Category names are free text: this font, part of matplotlib, has more letters than Pillow's default.
    import matplotlib

    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), pixels)


@functools.lru_cache
def font_of_file(path: str, pixels: int) -> ImageFont.FreeTypeFont:
    """A font at a height; one of color bitmaps at its own, whatever `pixels` is."""
    for size in (pixels, *_BITMAP_SIZES):
        try:
            return ImageFont.truetype(path, size)
        except OSError:  # "invalid pixel size"
            continue
    return font_of_height(pixels)


class TextLine:
    """One line of text, whose characters may have different fonts.

    Args:
        text: the line.
        pixels: height of the font.
        font_of_character: font files of characters that the default font lacks.
    """

    def __init__(self, text: str, pixels: int, font_of_character: Mapping[str, str]) -> None:
        self._runs: list[tuple[str, ImageFont.FreeTypeFont, float, float]] = []  # text, font, its scale, left
        boxes, right = [], 0.0
        for path, run in _runs(text, font_of_character):
            font = font_of_file(path, pixels) if path else font_of_height(pixels)
            scale = min(1.0, pixels / font.size)
            boxes.append([scale * value + right * (index % 2 == 0) for index, value in enumerate(_box(run, font))])
            self._runs.append((run, font, scale, right))
            right += scale * font.getlength(run)
        lefts, tops, rights, bottoms = zip(*boxes or [(0, 0, 0, 0)], strict=True)
        self._left, self._top = min(lefts), min(tops)
        self.size = (max(rights) - self._left, max(bottoms) - self._top)
        """(width, height) in pixels."""

    def draw(self, canvas: Image.Image, left: float, top: float, color: tuple[int, ...]) -> None:
        """Draw onto an image, with the top left corner of the visible text at (left, top)."""
        baseline = top - self._top
        for run, font, scale, start in self._runs:
            x = left - self._left + start
            if scale == 1.0:
                ImageDraw.Draw(canvas, "RGBA").text((x, baseline), run, font=font, fill=color, anchor="ls")
                continue
            x1, y1, x2, y2 = _box(run, font)
            drawn = Image.new("RGBA", (max(1, int(x2 - x1)), max(1, int(y2 - y1))))
            ImageDraw.Draw(drawn).text((-x1, -y1), run, font=font, fill=color, anchor="ls", embedded_color=True)
            drawn = drawn.resize([max(1, round(side * scale)) for side in drawn.size], Image.Resampling.LANCZOS)
            canvas.paste(drawn, (round(x + x1 * scale), round(baseline + y1 * scale)), drawn)


def _box(text: str, font: ImageFont.FreeTypeFont) -> tuple[float, float, float, float]:
    return font.getbbox(text, anchor="ls")


def _runs(text: str, font_of_character: Mapping[str, str]) -> list[tuple[str, str]]:
    """The text in parts of one font: (font file, or "" for the default, part)."""
    runs: list[tuple[str, str]] = []
    for character in text:
        path = font_of_character.get(character, "")
        joins = unicodedata.category(character) in ("Cf", "Mn") and bool(runs)  # belongs to the character before it
        if runs and (joins or path == runs[-1][0]):
            runs[-1] = (runs[-1][0], runs[-1][1] + character)
        else:
            runs.append((path, character))
    return runs
