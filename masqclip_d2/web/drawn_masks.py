"""Masks that a visitor draws: every color of the brush is one mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BRUSHES = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#e377c2", "#bcbd22")
"""Colors of the brush, which are those of masks in this order."""

_OPAQUE = 64  # alpha from which on a pixel is drawn; strokes have soft edges


def drawn_masks(layers: Sequence[NDArray[np.uint8]], image_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(N, H, W) masks of the colors that were used.

    Args:
        layers: (h, w, 4) RGBA of one size, the last one on top.
        image_hw: (height, width) of the masks.
    """
    palette = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in BRUSHES])
    used = [layer for layer in layers if layer is not None and layer.ndim == 3 and layer.shape[2] == 4]
    if not used:
        return np.zeros((0, *image_hw), bool)
    index = np.zeros(used[0].shape[:2], np.uint8)  # 0: not drawn
    for layer in used:
        inside = layer[..., 3] >= _OPAQUE
        distances = ((layer[inside][:, None, :3].astype(np.int64) - palette) ** 2).sum(axis=2)
        index[inside] = distances.argmin(axis=1) + 1
    resized = np.asarray(Image.fromarray(index).resize((image_hw[1], image_hw[0]), Image.Resampling.NEAREST))
    return (
        np.stack([resized == color for color in np.unique(resized) if color])
        if resized.any()
        else (np.zeros((0, *image_hw), bool))
    )
