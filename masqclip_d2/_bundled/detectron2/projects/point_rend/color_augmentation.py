"""Photometric augmentation of SSD (Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016)."""

from __future__ import annotations

import random

import numpy as np
from fvcore.transforms.transform import Transform

_HUE_RANGE = 180  # hue of a uint8 image in OpenCV, in units of 2 degrees


class ColorAugSSDTransform(Transform):
    """Brightness, contrast, saturation and hue, each with probability 1/2; contrast comes before or after the others.

    Draws from Python's `random` on every call, so results of two calls differ.

    Args:
        img_format: "RGB" or "BGR".
        brightness_delta: largest shift, in 0..255.
        contrast_low, contrast_high, saturation_low, saturation_high: bounds of the factors.
        hue_delta: largest shift, in units of 2 degrees.
    """

    def __init__(
        self,
        img_format: str,
        brightness_delta: float = 32,
        contrast_low: float = 0.5,
        contrast_high: float = 1.5,
        saturation_low: float = 0.5,
        saturation_high: float = 1.5,
        hue_delta: int = 18,
    ) -> None:
        super().__init__()
        if img_format not in ("RGB", "BGR"):
            raise ValueError(f"img_format is {img_format!r}; expected 'RGB' or 'BGR'.")
        self.is_rgb = img_format == "RGB"
        self.brightness_delta = brightness_delta
        self.contrast_range = (contrast_low, contrast_high)
        self.saturation_range = (saturation_low, saturation_high)
        self.hue_delta = hue_delta

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]  (fvcore's has no return type)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation

    def apply_image(self, img: np.ndarray, interp: str | None = None) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]  (fvcore's has no return type)
        """(H, W, 3) uint8 -> new (H, W, 3) uint8 array."""
        contrast_first = random.random() < 0.5
        img = self._brightness(img)
        if contrast_first:
            img = self._contrast(img)
        img = self._saturation_and_hue(img)
        return img if contrast_first else self._contrast(img)

    def _brightness(self, img: np.ndarray) -> np.ndarray:
        shift = random.uniform(-self.brightness_delta, self.brightness_delta) if random.random() < 0.5 else 0.0
        return _to_uint8(img.astype(np.float32) + shift)

    def _contrast(self, img: np.ndarray) -> np.ndarray:
        if random.random() < 0.5:
            return img
        return _to_uint8(img.astype(np.float32) * random.uniform(*self.contrast_range))

    def _saturation_and_hue(self, img: np.ndarray) -> np.ndarray:
        saturation = random.uniform(*self.saturation_range) if random.random() < 0.5 else 1.0
        hue_shift = random.randint(-self.hue_delta, self.hue_delta) if random.random() < 0.5 else 0
        if saturation == 1.0 and hue_shift == 0:  # a round trip through HSV would only lose precision
            return img
        import cv2

        to_hsv, from_hsv = (
            (cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB) if self.is_rgb else (cv2.COLOR_BGR2HSV, cv2.COLOR_HSV2BGR)
        )
        hsv = cv2.cvtColor(np.ascontiguousarray(img), to_hsv)
        hsv[..., 0] = (hsv[..., 0].astype(np.int32) + hue_shift) % _HUE_RANGE
        hsv[..., 1] = _to_uint8(hsv[..., 1].astype(np.float32) * saturation)
        return cv2.cvtColor(hsv, from_hsv)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)
