"""Image preprocessing of a CLIP: resize to the square input and normalization. Each loaded CLIP carries its own.

Shape shorthand: H, W pixels, R encoder resolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..transfers import device_constant

INTERPOLATIONS = ("bicubic", "bilinear")


@dataclass(frozen=True, kw_only=True)
class ClipPreprocessing:
    """How images enter a CLIP. The defaults are those of OpenAI's models.

    Raises:
        ValueError: mean or std are not three finite values, std is not positive, or the interpolation is unknown.
    """

    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)  # of R, G, B in [0, 1]
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: str = "bicubic"  # one of `INTERPOLATIONS`
    antialias: bool = False  # low-pass filter when shrinking; the published RMA and f'_Q weights were trained without

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} of a CLIP preprocessing must be three finite values (R, G, B), got {values}.")
        if min(self.std) <= 0:
            raise ValueError(f"std of a CLIP preprocessing must be positive, got {self.std}.")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"Unknown interpolation {self.interpolation!r}; known: {', '.join(INTERPOLATIONS)}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClipPreprocessing:
        """The reverse of `to_dict`; missing fields take their defaults.

        Raises:
            ValueError: a field is unknown or has a bad value.
        """
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise ValueError(f"CLIP preprocessing has unknown fields {unknown}.")
        values = dict(values)
        for name in ("mean", "std"):
            if name in values:
                values[name] = tuple(float(value) for value in values[name])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def image(self, image: Tensor, resolution: int) -> Tensor:
        """Resize an image to a square, ignoring its aspect ratio, and normalize it.

        Order of operations as in the published methods: divide by 255, resize without clipping, normalize.

        Args:
            image: (3, H, W) uint8 or float, RGB in 0..255.
            resolution: R in pixels.

        Returns:
            (3, R, R) float32, or float64 if the image is.

        Raises:
            ValueError: the image is not (3, H, W).
        """
        if image.dim() != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise ValueError(f"An image must be (3, H, W) RGB with values 0..255, got shape {tuple(image.shape)}.")
        image = image.to(torch.promote_types(image.dtype, torch.float32)) / 255
        size = (resolution, resolution)
        resized = F.interpolate(
            image[None], size, mode=self.interpolation, align_corners=False, antialias=self.antialias
        )
        return self.normalize(resized[0])

    def normalize(self, rgb: Tensor) -> Tensor:
        """(rgb - mean) / std of (..., 3, H, W) RGB in 0..1."""
        mean, std = (
            device_constant(tuple(values), rgb.dtype, rgb.device)[:, None, None] for values in (self.mean, self.std)
        )
        return (rgb - mean) / std
