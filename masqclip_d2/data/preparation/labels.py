"""Shared by the preparations: label translation, writing of label maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...files import save_image


def lookup_table(stored: Mapping[int, int], highest: int, ignore_label: int) -> NDArray[np.int64]:
    """Return a table (highest + 1,) of raw label -> stored label, `ignore_label` for labels that `stored` lacks."""
    table = np.full(highest + 1, ignore_label, dtype=np.int64)
    for raw, label in stored.items():
        table[raw] = label
    return table


def translated(raw: NDArray[np.int64], table: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    """Translate labels by a table.

    Raises:
        ValueError: a label is outside of the table.
    """
    wrong = np.unique(raw[(raw < 0) | (raw >= len(table))])
    if len(wrong):
        shown = ", ".join(map(str, wrong[:5].tolist()))
        raise ValueError(f"{path} holds the label {shown}, but labels are 0..{len(table) - 1}; download it again.")
    return table[raw]


def save_labels(path: Path, labels: NDArray[np.int64]) -> None:
    """Write a label map: 16 bits as .tif (mode I;16), 8 bits as .png (mode L)."""
    save_image(path, labels.astype(np.uint16 if path.suffix == ".tif" else np.uint8))
