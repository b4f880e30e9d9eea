"""Augmentations from the configuration, as in Mask2Former.

Shortest-edge resizing or large-scale jitter (Ghiasi et al., 2021), all with Detectron2's classes.
"""

from __future__ import annotations

from typing import Any

import detectron2.data.transforms as T
import numpy as np

RECIPES = ("shortest_edge", "large_scale_jitter")


def training_augmentations(cfg, recipe: str) -> list[T.Augmentation]:
    """The augmentations of a training mapper.

    Args:
        cfg: reads INPUT.{RANDOM_FLIP, COLOR_AUG_SSD} and, for "shortest_edge", INPUT.{MIN_SIZE_TRAIN, MAX_SIZE_TRAIN,
            MIN_SIZE_TRAIN_SAMPLING, CROP}, for "large_scale_jitter" INPUT.{IMAGE_SIZE, MIN_SCALE, MAX_SCALE}.
        recipe: one of `RECIPES`.

    Raises:
        ValueError: the recipe or INPUT.RANDOM_FLIP is unknown, or INPUT.CROP.SINGLE_CATEGORY_MAX_AREA is below 1.
    """
    if recipe not in RECIPES:
        raise ValueError(f"Unknown augmentation recipe {recipe!r}; known: {', '.join(RECIPES)}.")
    if recipe == "large_scale_jitter":
        side = cfg.INPUT.IMAGE_SIZE
        # Padding of label images gets id 0, which is void; Detectron2's default, 255, could be a segment id.
        geometry = [
            T.ResizeScale(cfg.INPUT.MIN_SCALE, cfg.INPUT.MAX_SCALE, target_height=side, target_width=side),
            T.FixedSizeCrop((side, side), seg_pad_value=0),
        ]
        return _colors(cfg) + _flips(cfg) + geometry
    return _shortest_edge(cfg) + _crop(cfg) + _colors(cfg) + _flips(cfg)


def evaluation_augmentations(cfg) -> list[T.Augmentation]:
    """Resize to INPUT.MIN_SIZE_TEST, at most INPUT.MAX_SIZE_TEST, pixels; MIN_SIZE_TEST 0: keep the size."""
    if cfg.INPUT.MIN_SIZE_TEST == 0:
        return []
    return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")]


class ShrinkLongestEdge(T.Augmentation):
    """Shrink images whose longer side exceeds `max_size` pixels to it; others keep their size."""

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self.max_size = max_size

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        scale = self.max_size / max(height, width)
        if scale >= 1:
            return T.NoOpTransform()
        return T.ResizeTransform(height, width, max(1, round(height * scale)), max(1, round(width * scale)))


def _shortest_edge(cfg) -> list[T.Augmentation]:
    sizes = cfg.INPUT.MIN_SIZE_TRAIN
    if tuple(sizes) in ((), (0,)):
        return []
    return [T.ResizeShortestEdge(sizes, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING)]


def _crop(cfg) -> list[T.Augmentation]:
    crop = cfg.INPUT.CROP
    if crop.ENABLED and crop.SINGLE_CATEGORY_MAX_AREA < 1:
        raise ValueError(
            f"INPUT.CROP.SINGLE_CATEGORY_MAX_AREA is {crop.SINGLE_CATEGORY_MAX_AREA}; choosing crops by their content "
            "is not supported: set it to 1.0, as in Mask2Former's configurations."
        )
    return [T.RandomCrop(crop.TYPE, crop.SIZE)] if crop.ENABLED else []


def _colors(cfg) -> list[Any]:
    if not cfg.INPUT.COLOR_AUG_SSD:
        return []
    from detectron2.projects.point_rend import ColorAugSSDTransform

    return [ColorAugSSDTransform(img_format="RGB")]


def _flips(cfg) -> list[T.Augmentation]:
    flip = cfg.INPUT.RANDOM_FLIP
    if flip not in ("none", "horizontal", "vertical"):
        raise ValueError(f"INPUT.RANDOM_FLIP is {flip!r}; expected none, horizontal or vertical.")
    return [] if flip == "none" else [T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")]
