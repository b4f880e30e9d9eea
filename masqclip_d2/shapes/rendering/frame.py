"""Frame: the size of a picture in units of length, and its pixels per unit.

Sizes and positions of everything in the world are in units. A picture of 128 x 128 units has 128 x 128 pixels at scale
1 and 256 x 256 pixels at scale 2: the same content, in finer detail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """The area of a picture.

    Args:
        height, width: in units.
        scale: pixels per unit and axis, at least 1.
    """

    height: int
    width: int
    scale: int = 1

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height * self.scale, self.width * self.scale

    @property
    def y(self) -> NDArray[np.floating]:
        """Position of each row in units: (H, 1) float32."""
        return positions(self.height, self.scale)[:, None]

    @property
    def x(self) -> NDArray[np.floating]:
        """Position of each column in units: (W,) float32."""
        return positions(self.width, self.scale)


def positions(length: int, scale: int) -> NDArray[np.floating]:
    """Positions in units of the pixels along an axis of `length` units: (length * scale,) float32, the first at 0."""
    return np.arange(length * scale, dtype=np.float32) / np.float32(scale)
