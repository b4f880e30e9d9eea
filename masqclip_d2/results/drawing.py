"""Visualizations: an image with colored masks, names and scores."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from .colors import category_colors
from .fonts import fonts_of_characters, use_fonts
from .segmentation import Segmentation

_MIN_DRAWING_SIDE = 480  # pixels, shorter side; smaller images are enlarged, so that labels are legible ...
_MAX_ENLARGED_SIDE = 4 * _MIN_DRAWING_SIDE  # ... up to this longer side
_MAX_DRAWN_PIXELS = 16_000_000  # drawing takes memory by the pixel


def _no_metadata(key: str, default: Any = None) -> Any:
    return default


_NO_METADATA = SimpleNamespace(get=_no_metadata)  # for Detectron2's Visualizer; colors and labels are passed to it


def draw(result: Segmentation, min_score: float | None = None) -> np.ndarray:
    """Visualization (H', W', 3) uint8 RGB; see `Segmentation.draw`."""
    from detectron2.utils.visualizer import ColorMode, Visualizer

    shorter, longer = sorted(result.image.shape[:2])
    scale = max(1.0, min(_MIN_DRAWING_SIDE / shorter, _MAX_ENLARGED_SIDE / longer))
    scale = min(scale, math.sqrt(_MAX_DRAWN_PIXELS / (shorter * longer)))
    colors = category_colors(len(result.vocabulary), result.vocabulary.colors)
    canvas = Visualizer(result.image, _NO_METADATA, scale=scale, instance_mode=ColorMode.SEGMENTATION)
    segments = result.drawn_segments(min_score)
    if not segments:
        return canvas.output.get_image()
    labels = [f"{segment.label} {segment.score:.0%}" for segment in segments]
    has_own_fonts = hasattr(canvas, "font_of_character")  # not in the real Detectron2, which uses matplotlib
    fonts = fonts_of_characters(labels, bitmaps=has_own_fonts)
    if has_own_fonts:
        canvas.font_of_character = fonts
    drawing: Any = canvas.overlay_instances(
        masks=[segment.mask for segment in segments],
        labels=labels,
        assigned_colors=[colors[segment.category_id] for segment in segments],
        alpha=0.45,
    )
    if fonts and not has_own_fonts:
        use_fonts(drawing.ax.texts, fonts.values())
    return drawing.get_image()
