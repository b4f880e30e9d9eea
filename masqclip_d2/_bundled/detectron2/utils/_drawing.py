"""What the visualizer needs to know about colours, words and masks, apart from drawing."""

from __future__ import annotations

import colorsys
import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFont

from .file_io import PathManager

Color = Sequence[float] | str

_GOLDEN_RATIO = 0.618034  # steps of the hue that keep neighbours in a list apart
_ANCHOR_SIDE = 160  # a mask is searched for the place of its label at no more than this many pixels per side


def to_numpy(values: Any) -> np.ndarray:
    # Tensors explicitly: numpy's own conversion of them is deprecated.
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def text_labels(
    categories: Sequence[int] | None,
    scores: Sequence[float] | None,
    names: Sequence[str] | None,
    is_crowd: Sequence[int] | None = None,
) -> list[str] | None:
    """ "name 93%", as far as name and score are known."""
    if categories is None and scores is None:
        return None
    labels = [""] * len(categories if categories is not None else scores)
    if categories is not None:
        labels = [names[category] if names and category < len(names) else str(category) for category in categories]
    if scores is not None:
        labels = [f"{label} {score:.0%}".strip() for label, score in zip(labels, scores, strict=True)]
    if is_crowd is not None:
        labels = [label + "|crowd" if crowd else label for label, crowd in zip(labels, is_crowd, strict=True)]
    return labels


def largest_first(masks: Sequence[np.ndarray]) -> list[int]:
    return sorted(range(len(masks)), key=lambda index: -int(masks[index].sum()))


def place_inside(mask: np.ndarray) -> tuple[float, float]:
    """The (x, y) of a pixel of the mask that is about as far from its border as any: the middle of its widest part."""
    from scipy.ndimage import distance_transform_edt

    step = max(1, max(mask.shape) // _ANCHOR_SIDE)
    coarse = mask[::step, ::step]
    if not coarse.any():  # thinner than the grid
        step, coarse = 1, mask
    # A frame of zeros: the border of the picture is a border too.
    y, x = np.unravel_index(np.argmax(distance_transform_edt(np.pad(coarse, 1))), np.add(coarse.shape, 2))
    return float((x - 1) * step), float((y - 1) * step)


def own_color(index: int) -> tuple[float, float, float]:
    """A bright colour for an index; neighbours differ."""
    return colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1.0, 0.75 if index % 2 else 0.6, 0.95)


def rgb_255(color: Color) -> tuple[int, int, int]:
    if isinstance(color, str):
        from matplotlib.colors import to_rgb

        color = to_rgb(color)
    red, green, blue = (round(float(value) * 255) for value in color)
    return red, green, blue


@functools.lru_cache
def font_of_height(pixels: int) -> ImageFont.FreeTypeFont:
    # Words are free text: this font, which comes with matplotlib, knows far more letters than Pillow's own.
    import matplotlib

    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), pixels)


def read_array(path: str) -> np.ndarray:
    with PathManager.open(path, "rb") as f, Image.open(f) as image:
        return np.asarray(image)
