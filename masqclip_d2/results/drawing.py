"""Visualizations: an image with colored masks, names and scores, and a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from .colors import Color, category_colors, instance_colors
from .fonts import fonts_of_characters, use_fonts
from .legend import with_legend
from .segmentation import Segment, Segmentation

_MIN_DRAWING_SIDE = 480  # pixels, shorter side; smaller images are enlarged, so that labels are legible ...
_MAX_ENLARGED_SIDE = 4 * _MIN_DRAWING_SIDE  # ... up to this longer side
_MAX_DRAWN_PIXELS = 16_000_000  # drawing takes memory by the pixel


def _no_metadata(key: str, default: Any = None) -> Any:
    return default


_NO_METADATA = SimpleNamespace(get=_no_metadata)  # for Detectron2's Visualizer; colors and labels are passed to it


def draw(
    result: Segmentation,
    min_score: float | None = None,
    legend: bool = False,
    alpha: float = 0.45,
    labels: bool | str = True,
    colors: Sequence[Color] | None = None,
    keep_size: bool = False,
) -> np.ndarray:
    """Visualization (H', W', 3) uint8 RGB; see `Segmentation.draw`. `keep_size`: it has the size of the image."""
    _check(result, alpha, labels, colors)
    if colors is None:
        colors = instance_colors(result.vocabulary, [segment.category_id for segment in result.segments])
    color_of = {id(segment): color for segment, color in zip(result.segments, colors, strict=True)}
    segments = result.drawn_segments(min_score)
    shown = _with_masks(result, segments, [color_of[id(segment)] for segment in segments], alpha, labels, keep_size)
    if not legend:
        return shown
    area = dict.fromkeys((segment.category_id for segment in segments), 0)
    for segment in segments:
        area[segment.category_id] += segment.area
    by_area, of_category = sorted(area, key=lambda category: -area[category]), category_colors(result.vocabulary)
    return with_legend(shown, [(result.vocabulary.names[index], of_category[index]) for index in by_area])


def _with_masks(
    result: Segmentation,
    segments: list[Segment],
    colors: list[Color],
    alpha: float,
    labels: bool | str,
    keep_size: bool,
) -> np.ndarray:
    from detectron2.utils.visualizer import ColorMode, Visualizer

    scale = 1.0 if keep_size else _scale(result.image.shape[:2])
    canvas = Visualizer(result.image, _NO_METADATA, scale=scale, instance_mode=ColorMode.SEGMENTATION)
    if not segments:
        return canvas.output.get_image()
    texts = [segment.label if labels == "name" else f"{segment.label} {segment.score:.0%}" for segment in segments]
    has_own_fonts = hasattr(canvas, "font_of_character")  # not in the real Detectron2, which uses matplotlib
    fonts = fonts_of_characters(texts, bitmaps=has_own_fonts) if labels else {}
    if has_own_fonts:
        canvas.font_of_character = fonts
    drawing: Any = canvas.overlay_instances(
        masks=[segment.mask for segment in segments],
        labels=texts if labels else None,
        assigned_colors=[tuple(value / 255 for value in color) for color in colors],
        alpha=alpha,
    )
    if fonts and not has_own_fonts:
        use_fonts(drawing.ax.texts, fonts.values())
    return drawing.get_image()


def _scale(image_hw: tuple[int, ...]) -> float:
    shorter, longer = sorted(image_hw)
    scale = max(1.0, min(_MIN_DRAWING_SIDE / shorter, _MAX_ENLARGED_SIDE / longer))
    return min(scale, math.sqrt(_MAX_DRAWN_PIXELS / (shorter * longer)))


def _check(result: Segmentation, alpha: float, labels: bool | str, colors: Sequence[Color] | None) -> None:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; expected a number in [0, 1].")
    if labels not in (True, False, "name"):
        raise ValueError(f"labels is {labels!r}; expected True, False or 'name'.")
    if colors is not None and len(colors) != len(result.segments):
        raise ValueError(f"There are {len(colors)} colors for {len(result.segments)} segments; give each one.")
