"""Panels of an image with colored masks and labels, composed to a sheet and written as a small PNG.

A sheet is `SHEET_WIDTH` wide. A README shows it at about half that width; text sizes are chosen for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from masqclip_d2.files import atomic_write

SHEET_WIDTH = 1600  # pixels
MAX_FILE_SIZE = 400_000  # bytes
_LABEL_SIZE, _CAPTION_SIZE, _TITLE_SIZE = 22, 24, 28  # pixels of text height; about half of it in a README
_GAP = 12  # pixels between panels
_OUTLINE = 3  # pixels
_FILL = 0.45  # opacity of the color inside a mask
_HIDDEN = 2.5  # a mask smaller than so many areas of a label would be hidden by it
_PALETTE_SIZES = (256, 128, 64, 32)  # numbers of colors, tried until the file is small enough
_WHITE, _BLACK, _EMPHASIS = (255, 255, 255), (0, 0, 0), (190, 70, 0)
# Far apart in hue or lightness, also from the labels of novel categories.
_COLORS = (
    (40, 100, 240), (250, 220, 40), (225, 30, 50), (40, 200, 220), (150, 60, 200), (130, 220, 60),
    (255, 120, 190), (20, 40, 120), (0, 130, 80), (140, 80, 60), (190, 170, 255), (240, 240, 240),
)  # fmt: skip

Color = tuple[int, int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Mark:
    """A mask to draw.

    Args:
        mask: (H, W) bool at the size of the image.
        color: RGB, 0..255.
        label: text on it; "": none.
        emphasis: highlight the label (novel categories).
    """

    mask: NDArray[np.bool_]
    color: Color
    label: str = ""
    emphasis: bool = False


class Colors:
    """RGB colors, 0..255, by name: the first twelve names have different ones."""

    def __init__(self) -> None:
        self._of: dict[str, Color] = {}

    def __getitem__(self, name: str) -> Color:
        return self._of.setdefault(name, _COLORS[len(self._of) % len(_COLORS)])


def panel(image: NDArray[np.uint8], marks: Sequence[Mark], side: int) -> Image.Image:
    """The image with its marks, enlarged without interpolation to fit a white square.

    Args:
        image: (H, W, 3) uint8 RGB.
        marks: drawn in order.
        side: of the square, in pixels.
    """
    tinted = image.astype(np.float32)
    for mark in marks:
        tinted[mark.mask] = tinted[mark.mask] * (1 - _FILL) + np.asarray(mark.color, np.float32) * _FILL
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (round(width * scale), round(height * scale))
    enlarged_image = Image.fromarray(tinted.round().astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    enlarged = [_enlarged(mark.mask, size) for mark in marks]
    pixels = np.array(enlarged_image)
    for mark, mask in zip(marks, enlarged, strict=True):
        pixels[_border(mask)] = mark.color
    drawing = Image.fromarray(pixels)
    _write_labels(drawing, marks, enlarged)
    square = Image.new("RGB", (side, side), _WHITE)
    square.paste(drawing, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def panel_side(columns: int) -> int:
    """Side in pixels of the panels of a sheet with so many columns."""
    return (SHEET_WIDTH - _GAP * (columns + 1)) // columns


def sheet(
    rows: Sequence[Sequence[Image.Image]], titles: Sequence[str], captions: Sequence[Sequence[str]] | None = None
) -> Image.Image:
    """Compose panels in rows.

    Args:
        rows: panels of one size; the same number in each row.
        titles: above each row; wrapped if too long.
        captions: below each panel; None: none.
    """
    captions = captions or [[""] * len(row) for row in rows]
    title_lines = [_wrapped(title, SHEET_WIDTH - 2 * _GAP, _font(_TITLE_SIZE)) for title in titles]
    line_height, caption_height = round(_TITLE_SIZE * 1.35), round(_CAPTION_SIZE * 1.4)
    side = rows[0][0].width
    heights = [
        len(lines) * line_height + side + (caption_height if any(below) else 0) + 2 * _GAP
        for lines, below in zip(title_lines, captions, strict=True)
    ]
    whole = Image.new("RGB", (SHEET_WIDTH, sum(heights) + _GAP), _WHITE)
    draw = ImageDraw.Draw(whole)
    top = _GAP
    for row, lines, below, height in zip(rows, title_lines, captions, heights, strict=True):
        y = top
        for line in lines:
            draw.text((_GAP, y), line, font=_font(_TITLE_SIZE), fill=_BLACK)
            y += line_height
        y += _GAP // 2
        for column, (one, caption) in enumerate(zip(row, below, strict=True)):
            x = _GAP + column * (side + _GAP)
            whole.paste(one, (x, y))
            draw.text((x + side / 2, y + side + 2), caption, font=_font(_CAPTION_SIZE), fill=_BLACK, anchor="ma")
        top += height
    return whole


def write_png(image: Image.Image, path: Path) -> None:
    """Write atomically, with at most 256 colors, fewer if the file would exceed `MAX_FILE_SIZE`."""
    with atomic_write(path) as temporary:
        for num_colors in _PALETTE_SIZES:
            image.convert("RGB").quantize(num_colors, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)
            if temporary.stat().st_size < MAX_FILE_SIZE:
                break


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask, iterations=_OUTLINE, border_value=0)


def _write_labels(image: Image.Image, marks: Sequence[Mark], masks: Sequence[NDArray[np.bool_]]) -> None:
    """Write each label on its mask, or beside a mask that it would hide, with a line to it; small masks first."""
    draw = ImageDraw.Draw(image)
    font = _font(_LABEL_SIZE)
    taken: list[Box] = []
    labelled = [(mark, mask) for mark, mask in zip(marks, masks, strict=True) if mark.label and mask.any()]
    labelled.sort(key=lambda pair: int(pair[1].sum()))
    for mark, mask in labelled:
        text = "\n".join(_wrapped(mark.label, image.width // 2, font))
        left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font)
        size = round(right - left) + 10, round(bottom - top) + 10
        hidden = [other for _, other in labelled if other.sum() < _HIDDEN * size[0] * size[1] and other is not mask]
        middle = _middle(mask)
        beside = mask.sum() < _HIDDEN * size[0] * size[1]
        box = _best_box(size, middle, [*hidden, mask] if beside else hidden, taken, image.size)
        taken.append(box)
        nearest = min(max(middle[0], box[0]), box[2]), min(max(middle[1], box[1]), box[3])
        if nearest != middle:
            draw.line([middle, nearest], fill=_BLACK, width=_OUTLINE + 4)
            draw.line([middle, nearest], fill=mark.color, width=_OUTLINE)
        draw.rectangle(box, fill=_EMPHASIS if mark.emphasis else _WHITE, outline=mark.color, width=2)
        color = _WHITE if mark.emphasis else _BLACK
        draw.multiline_text((box[0] + 5 - left, box[1] + 5 - top), text, font=font, fill=color)


def _middle(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """(x, y) of the pixel that is farthest from the border of the mask."""
    from scipy.ndimage import distance_transform_edt

    depth = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x), int(y)


def _best_box(
    size: tuple[int, int],
    middle: tuple[int, int],
    to_keep_free: Sequence[NDArray[np.bool_]],
    taken: Sequence[Box],
    limits: tuple[int, int],
) -> Box:
    """A box of this size in the image that avoids other labels, covers little of some masks, and is near `middle`."""
    width, height = size
    areas = [float(mask.sum()) for mask in to_keep_free]

    def cost(box: Box) -> float:
        window = np.s_[box[1] : box[3], box[0] : box[2]]
        covered = sum(mask[window].sum() / area for mask, area in zip(to_keep_free, areas, strict=True))
        over_labels = any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken)
        dx, dy = (box[0] + width / 2 - middle[0]) / width, (box[1] + height / 2 - middle[1]) / height
        return 100.0 * over_labels + 3.0 * covered + (dx**2 + (dy / 2) ** 2) ** 0.5

    boxes = []
    for dy in range(-12, 13):
        for dx in range(-12, 13):
            left = min(max(middle[0] + dx * width // 8 - width // 2, 0), max(limits[0] - width - 1, 0))
            top = min(max(middle[1] + dy * height // 2 - height // 2, 0), max(limits[1] - height - 1, 0))
            boxes.append((left, top, left + width, top + height))
    return min(boxes, key=cost)


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """Lines no wider than `width`, unless a single word is wider."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which is part of matplotlib."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
