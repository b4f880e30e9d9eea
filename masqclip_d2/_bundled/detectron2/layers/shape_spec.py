"""Shape of a feature map, as modules declare their inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """Shape of one feature map; None = unknown or not fixed. `stride` is in input pixels per feature cell."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
