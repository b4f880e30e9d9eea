"""Colors, labels and mask geometry for the visualizer."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from .file_io import PathManager

Color = Sequence[float] | str

_GOLDEN_RATIO = 0.618034  # hue step between consecutive colors
_ANCHOR_SIDE = 160  # label positions are computed at this resolution or less, in pixels per side


def to_numpy(values: Any) -> np.ndarray:
    # numpy's own conversion of tensors is deprecated.
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def text_labels(
    categories: Sequence[int] | None,
    scores: Sequence[float] | None,
    names: Sequence[str] | None,
    is_crowd: Sequence[int] | None = None,
) -> list[str] | None:
    """Labels such as "name 93%"; None if neither categories nor scores are given."""
    if categories is None and scores is None:
        return None
    if categories is None:
        labels = [""] * len(scores or ())
    else:
        labels = [names[category] if names and category < len(names) else str(category) for category in categories]
    if scores is not None:
        labels = [f"{label} {score:.0%}".strip() for label, score in zip(labels, scores, strict=True)]
    if is_crowd is not None:
        labels = [label + "|crowd" if crowd else label for label, crowd in zip(labels, is_crowd, strict=True)]
    return labels


def largest_first(masks: Sequence[np.ndarray]) -> list[int]:
    return sorted(range(len(masks)), key=lambda index: -int(masks[index].sum()))


def place_inside(mask: np.ndarray) -> tuple[float, float]:
    """Return the (x, y) of a pixel in the middle of the widest part of the mask."""
    from scipy.ndimage import distance_transform_edt

    step = max(1, max(mask.shape) // _ANCHOR_SIDE)
    coarse = mask[::step, ::step]
    if not coarse.any():  # thinner than the grid
        step, coarse = 1, mask
    # Padded with zeros: the image border counts as a border of the mask.
    distances = np.asarray(distance_transform_edt(np.pad(coarse, 1)))
    y, x = np.unravel_index(np.argmax(distances), distances.shape)
    return float((x - 1) * step), float((y - 1) * step)


def own_color(index: int) -> tuple[float, float, float]:
    """A bright color per index; consecutive ones differ."""
    return colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1.0, 0.75 if index % 2 else 0.6, 0.95)


def rgb_255(color: Color) -> tuple[int, int, int]:
    if isinstance(color, str):
        from matplotlib.colors import to_rgb

        color = to_rgb(color)
    red, green, blue = (round(float(value) * 255) for value in color)
    return red, green, blue


def read_array(path: str) -> np.ndarray:
    with PathManager.open(path, "rb") as f, Image.open(f) as image:
        return np.asarray(image)
