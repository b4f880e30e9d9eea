"""`ResizeTransform`, a deterministic transform beside fvcore's."""

from __future__ import annotations

import numpy as np
import torch
from fvcore.transforms.transform import Transform
from PIL import Image
from torch.nn import functional as F

__all__ = ["ResizeTransform"]

_TORCH_MODES = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}


class ResizeTransform(Transform):
    """Resize an image from (h, w) to (new_h, new_w).

    uint8 images are resized by PIL, with antialiasing; other types by torch, without.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None):
        """`interp` is a resampling method of PIL; None is bilinear."""
        super().__init__()
        self.h, self.w, self.new_h, self.new_w = int(h), int(w), int(new_h), int(new_w)
        self.interp = Image.Resampling(Image.Resampling.BILINEAR if interp is None else interp)

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]  (fvcore's has no return type)
        """(h, w) or (h, w, C) -> the same with the new size and the same dtype; `interp` overrides the own method."""
        assert img.shape[:2] == (self.h, self.w), f"Expected an image of {self.h} x {self.w}; got {img.shape}."
        interp = self.interp if interp is None else Image.Resampling(interp)
        if img.dtype == np.uint8:
            return self._resize_uint8(img, interp)
        if interp == Image.Resampling.NEAREST:
            rows = np.arange(self.new_h) * self.h // self.new_h
            columns = np.arange(self.new_w) * self.w // self.new_w
            return img[rows[:, None], columns]
        return self._resize_float(img, interp)

    def _resize_uint8(self, img: np.ndarray, interp: Image.Resampling) -> np.ndarray:
        single_channel = img.ndim == 3 and img.shape[2] == 1
        image = Image.fromarray(img[:, :, 0] if single_channel else img)
        resized = np.asarray(image.resize((self.new_w, self.new_h), interp))
        return resized[:, :, None] if single_channel else resized

    def _resize_float(self, img: np.ndarray, interp: Image.Resampling) -> np.ndarray:
        if not np.issubdtype(img.dtype, np.floating) or interp not in _TORCH_MODES:
            raise TypeError(f"Cannot resize {img.dtype} images with {interp.name}; convert to uint8 or float32 first.")
        channels_first = np.ascontiguousarray(img.reshape(self.h, self.w, -1).transpose(2, 0, 1))
        resized = F.interpolate(
            torch.from_numpy(channels_first)[None],
            (self.new_h, self.new_w),
            mode=_TORCH_MODES[interp],
            align_corners=False,
        )[0]  # (C, new_h, new_w)
        return resized.numpy().transpose(1, 2, 0).reshape(self.new_h, self.new_w, *img.shape[2:])

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]  (fvcore's has no return type)
        """Scale (N, 2) points (x, y), in place."""
        coords[:, 0] = coords[:, 0] * (self.new_w / self.w)
        coords[:, 1] = coords[:, 1] * (self.new_h / self.h)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def inverse(self) -> ResizeTransform:
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)
