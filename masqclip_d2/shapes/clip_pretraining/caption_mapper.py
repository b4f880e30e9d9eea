"""Mapper of captioned images, for contrastive training of CLIP."""

from __future__ import annotations

from typing import Any

import detectron2.data.transforms as T
from detectron2.config import configurable

from ...data.images import channels_first
from ...data.mappers import (
    Record,
    augmented_image,
    image_fields,
    register_mapper,
    require_keys,
    require_rgb,
)


@register_mapper("captions")
class CaptionMapper:
    """Image and caption; adds the key `captions` (list of one str) to those of `data.mappers`.

    The image is resized to `resolution` pixels on its shorter side and cropped to a square: at a random place in
    training, in the center at test. In training it may be flipped, since captions of Shapes do not mention left and
    right.

    Args:
        resolution: side of the square image in pixels (key INPUT.IMAGE_SIZE).
        is_train: random crop and flip.
        flip: allow flips in training.
    """

    @configurable
    def __init__(self, *, resolution: int, is_train: bool, flip: bool = True) -> None:
        augmentations: list[T.Augmentation] = [T.ResizeShortestEdge(resolution)]
        if is_train:
            augmentations.append(T.RandomCrop("absolute", (resolution, resolution)))
            augmentations += [T.RandomFlip()] if flip else []
        self.augmentations = T.AugmentationList(augmentations)
        self.resolution = resolution

    @classmethod
    def from_config(cls, cfg, is_train: bool) -> dict[str, Any]:
        require_rgb(cfg)
        flip = cfg.INPUT.RANDOM_FLIP == "horizontal"
        return {"resolution": cfg.INPUT.IMAGE_SIZE, "is_train": is_train, "flip": flip}

    def __call__(self, record: Record) -> Record:
        """Read and augment; FileNotFoundError or ValueError names the file if image or caption are unusable."""
        require_keys(record, "caption")
        image, _, image_hw = augmented_image(record, self.augmentations)
        top, left = ((side - self.resolution) // 2 for side in image.shape[:2])
        square = image[top : top + self.resolution, left : left + self.resolution]
        fields = image_fields(record, image_hw)
        return {**fields, "image": channels_first(square), "captions": [record["caption"]]}
