"""Random resizing, cropping and flipping. Random numbers come from `numpy.random`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from PIL import Image

from .augmentation import Augmentation
from .transform import ResizeTransform

__all__ = [
    "FixedSizeCrop",
    "RandomCrop",
    "RandomCrop_CategoryAreaConstraint",
    "RandomFlip",
    "Resize",
    "ResizeScale",
    "ResizeShortestEdge",
]

_CROP_TYPES = ("relative_range", "relative", "absolute", "absolute_range")
_CROP_TRIES = 10  # of RandomCrop_CategoryAreaConstraint, as in Detectron2


class RandomFlip(Augmentation):
    """Flip with probability `prob`, horizontally or vertically."""

    def __init__(self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False):
        super().__init__()
        if horizontal == vertical:
            raise ValueError(
                f"RandomFlip flips in one direction; got horizontal={horizontal}, vertical={vertical}. "
                "Use two of them to flip in both."
            )
        self.prob, self.horizontal, self.vertical = prob, horizontal, vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(width) if self.horizontal else VFlipTransform(height)


class Resize(Augmentation):
    """Resize to `shape` = (height, width), or a square."""

    def __init__(self, shape: int | Sequence[int], interp: int = Image.Resampling.BILINEAR):
        height, width = (shape, shape) if isinstance(shape, int) else shape
        self.shape, self.interp = (height, width), interp

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        return ResizeTransform(height, width, *self.shape, self.interp)


class ResizeShortestEdge(Augmentation):
    """Resize the shorter side to a random length, or less if the longer side would exceed `max_size`.

    `sample_style` "choice" draws one of `short_edge_length`, "range" an integer from its first to its second value
    (included). A length of 0 keeps the image size.
    """

    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = Image.Resampling.BILINEAR,
    ):
        super().__init__()
        assert sample_style in ("range", "choice"), f"sample_style is {sample_style!r}; expected 'range' or 'choice'."
        self.is_range = sample_style == "range"
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        if self.is_range:
            assert len(short_edge_length) == 2, f"A range has two ends; got short_edge_length={short_edge_length}."
        self.short_edge_length, self.max_size = short_edge_length, max_size
        self.sample_style, self.interp = sample_style, interp

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        if self.is_range:
            size = np.random.randint(self.short_edge_length[0], self.short_edge_length[1] + 1)
        else:
            size = np.random.choice(self.short_edge_length)
        if size == 0:
            return NoOpTransform()
        new_height, new_width = self.get_output_shape(height, width, int(size), self.max_size)
        return ResizeTransform(height, width, new_height, new_width, self.interp)

    @staticmethod
    def get_output_shape(oldh: int, oldw: int, short_edge_length: int, max_size: int) -> tuple[int, int]:
        """(height, width) after resizing, rounded half up."""
        scale = short_edge_length / min(oldh, oldw)
        new_height, new_width = (short_edge_length, oldw * scale) if oldh < oldw else (oldh * scale, short_edge_length)
        if max(new_height, new_width) > max_size:
            scale = max_size / max(new_height, new_width)
            new_height, new_width = new_height * scale, new_width * scale
        return int(new_height + 0.5), int(new_width + 0.5)


class ResizeScale(Augmentation):
    """Fit the image into (target_height, target_width) times a scale drawn from [min_scale, max_scale)."""

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = Image.Resampling.BILINEAR,
    ):
        super().__init__()
        self.min_scale, self.max_scale = min_scale, max_scale
        self.target_height, self.target_width, self.interp = target_height, target_width, interp

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        random_scale = np.random.uniform(self.min_scale, self.max_scale)
        scale = min(self.target_height * random_scale / height, self.target_width * random_scale / width)
        return ResizeTransform(height, width, round(height * scale), round(width * scale), self.interp)


class FixedSizeCrop(Augmentation):
    """Crop to `crop_size` = (height, width) at a random position; smaller images are padded at the right and bottom."""

    def __init__(
        self,
        crop_size: tuple[int, int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ):
        super().__init__()
        self.crop_size, self.pad, self.pad_value, self.seg_pad_value = crop_size, pad, pad_value, seg_pad_value

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        crop_height, crop_width = min(height, self.crop_size[0]), min(width, self.crop_size[1])
        fraction = np.random.uniform(0.0, 1.0)  # one number for both axes, as in Detectron2
        x0, y0 = round((width - crop_width) * fraction), round((height - crop_height) * fraction)
        crop = CropTransform(x0, y0, crop_width, crop_height, width, height)
        if not self.pad:
            return crop
        missing_width, missing_height = self.crop_size[1] - crop_width, self.crop_size[0] - crop_height
        pad = PadTransform(
            0, 0, missing_width, missing_height, crop_width, crop_height, self.pad_value, self.seg_pad_value
        )
        return TransformList([crop, pad])


class RandomCrop(Augmentation):
    """Crop a rectangle at a random position. `crop_size` depends on `crop_type`:

    relative: (height, width) as fractions of the image. relative_range: both fractions drawn from [size, 1].
    absolute: (height, width) in pixels, or the whole side. absolute_range: both drawn from [size[0], size[1]] pixels.
    """

    def __init__(self, crop_type: str, crop_size: Sequence[float]):
        super().__init__()
        assert crop_type in _CROP_TYPES, f"crop_type is {crop_type!r}; expected one of {', '.join(_CROP_TYPES)}."
        self.crop_type, self.crop_size = crop_type, crop_size

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        crop_height, crop_width = self.get_crop_size((height, width))
        y0 = np.random.randint(height - crop_height + 1)
        x0 = np.random.randint(width - crop_width + 1)
        return CropTransform(x0, y0, crop_width, crop_height, width, height)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of a crop, in pixels, for an image of (height, width)."""
        height, width = image_size
        if self.crop_type == "absolute":
            return int(min(self.crop_size[0], height)), int(min(self.crop_size[1], width))
        if self.crop_type == "absolute_range":
            low, high = (int(size) for size in self.crop_size)
            assert low <= high, f"The range of crop sizes is empty: {self.crop_size}."
            crop_height = np.random.randint(min(height, low), min(height, high) + 1)
            crop_width = np.random.randint(min(width, low), min(width, high) + 1)
            return int(crop_height), int(crop_width)
        fractions = np.asarray(self.crop_size, dtype=np.float32)
        if self.crop_type == "relative_range":
            fractions = fractions + np.random.rand(2) * (1 - fractions)
        return int(height * fractions[0] + 0.5), int(width * fractions[1] + 0.5)


class RandomCrop_CategoryAreaConstraint(Augmentation):
    """`RandomCrop`, repeated while one label of `sem_seg` fills at least `single_category_max_area` of the crop."""

    def __init__(
        self,
        crop_type: str,
        crop_size: Sequence[float],
        single_category_max_area: float = 1.0,
        ignored_category: int | None = None,
    ):
        """`ignored_category` is a label that does not count; a maximum of 1.0 or more is no constraint."""
        self.crop_aug = RandomCrop(crop_type, crop_size)
        self.crop_type, self.crop_size = crop_type, crop_size
        self.single_category_max_area, self.ignored_category = single_category_max_area, ignored_category

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray | None) -> Transform:
        if self.single_category_max_area >= 1.0:
            return self.crop_aug.get_transform(image)
        if sem_seg is None:
            raise ValueError("RandomCrop_CategoryAreaConstraint needs the input's sem_seg; got None.")
        crop = self.crop_aug.get_transform(image)
        for _ in range(_CROP_TRIES - 1):
            if self._is_mixed(crop.apply_segmentation(sem_seg)):
                break
            crop = self.crop_aug.get_transform(image)
        return crop

    def _is_mixed(self, sem_seg: np.ndarray) -> bool:
        """Whether at least two labels count and none fills too much."""
        labels, counts = np.unique(sem_seg, return_counts=True)
        if self.ignored_category is not None:
            counts = counts[labels != self.ignored_category]
        return len(counts) > 1 and bool(counts.max() < counts.sum() * self.single_category_max_area)
