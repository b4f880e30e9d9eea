"""Mappers: what a dataset's record becomes before a model sees it. Chosen by INPUT.DATASET_MAPPER_NAME.

A record (one image) in Detectron2's format goes in; a dict comes out with
    image           (3, H, W) uint8 RGB tensor, augmented; padding (large-scale jitter) is grey, right and below
    height, width, image_id, file_name     of the image before augmentation
    instances       training, or where asked: Instances in the frame of `image` with gt_masks (BitMasks), gt_classes
                    (contiguous), gt_boxes. Padding belongs to no mask; crowds are left out; may have length 0
    sem_seg         panoptic ground truth only: (H, W) int64 contiguous classes, 255 ignore
    caption         captions only: str
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import detectron2.data.detection_utils as utils
import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import MetadataCatalog
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from . import registration  # noqa: F401  (whoever loads data finds our datasets registered)
from .augmentation import evaluation_augmentations, training_augmentations
from .ground_truth import IGNORE_LABEL, ObjectMasks, category_masks, instance_masks, panoptic_masks, semantic_map
from .images import read_image

_PADDING = 128  # grey value of padded pixels, as FixedSizeCrop's

Record = dict[str, Any]


class SegmentationMapper(ABC):
    """What the panoptic, the instance and the semantic mapper share: read, check, augment, pad.

    Args:
        augmentations: Detectron2 augmentations of image and masks.
        with_ground_truth: give `instances`, and `sem_seg` where there is one.
        min_side: pad image and masks to at least this many pixels on both sides; at most 0: do not.
    """

    @configurable
    def __init__(self, *, augmentations: list[T.Augmentation], with_ground_truth: bool, min_side: int = -1) -> None:
        self.augmentations = T.AugmentationList(augmentations)
        self.with_ground_truth = with_ground_truth
        self.min_side = min_side

    @classmethod
    def from_config(
        cls, cfg, is_train: bool, *, recipe: str = "shortest_edge", with_ground_truth: bool | None = None
    ) -> dict[str, Any]:
        """`recipe` is that of `training_augmentations`; `with_ground_truth` None: in training only."""
        _require_rgb(cfg)
        return {
            "augmentations": training_augmentations(cfg, recipe) if is_train else evaluation_augmentations(cfg),
            "with_ground_truth": is_train if with_ground_truth is None else with_ground_truth,
            "min_side": cfg.INPUT.SIZE_DIVISIBILITY if is_train else -1,
        }

    def __call__(self, record: Record) -> Record:
        """Raises FileNotFoundError or ValueError, naming the file, if image or ground truth are missing or unfit."""
        image, transforms, image_hw = _augmented_image(record, self.augmentations)
        mapped = _image_fields(record, image_hw)
        mapped["image"] = _padded(_channels_first(image), self.min_side, _PADDING)
        if self.with_ground_truth:
            mapped |= self.ground_truth(record, image_hw, transforms)
        return mapped

    @abstractmethod
    def ground_truth(self, record: Record, image_hw: tuple[int, int], transforms: T.TransformList) -> Record:
        """Entries `instances` and, if known, `sem_seg`; `image_hw` is the image's size before the transforms."""

    def to_instances(self, objects: ObjectMasks) -> Instances:
        """Masks as Detectron2 structures, padded to `min_side`."""
        masks = BitMasks(_padded(torch.from_numpy(objects.masks), self.min_side, False))
        instances = Instances(masks.image_size, gt_masks=masks, gt_classes=torch.from_numpy(objects.classes))
        instances.gt_boxes = masks.get_bounding_boxes()
        return instances


class PanopticMapper(SegmentationMapper):
    """Panoptic png -> masks of things and stuff, and the semantic map. Reads pan_seg_file_name and segments_info."""

    def ground_truth(self, record: Record, image_hw: tuple[int, int], transforms: T.TransformList) -> Record:
        _require(record, "pan_seg_file_name", "segments_info")
        objects = panoptic_masks(record, image_hw, transforms)
        sem_seg = torch.from_numpy(semantic_map(objects))
        return {"sem_seg": _padded(sem_seg, self.min_side, IGNORE_LABEL), "instances": self.to_instances(objects)}


class InstanceMapper(SegmentationMapper):
    """Instance annotations (polygons or run-length) -> masks of things, which may overlap. Reads annotations."""

    def ground_truth(self, record: Record, image_hw: tuple[int, int], transforms: T.TransformList) -> Record:
        _require(record, "annotations")
        return {"instances": self.to_instances(instance_masks(record, image_hw, transforms))}


class SemanticMapper(SegmentationMapper):
    """Semantic label map -> one mask per category that it shows, as in Mask2Former. Reads sem_seg_file_name.

    Args:
        num_categories: K; labels are 0..K-1.
        ignore_label: of pixels without a category, which belong to no mask.
        shared: arguments of `SegmentationMapper`.
    """

    @configurable
    def __init__(self, *, num_categories: int, ignore_label: int, **shared) -> None:
        super().__init__(**shared)
        self.num_categories = num_categories
        self.ignore_label = ignore_label

    @classmethod
    def from_config(cls, cfg, is_train: bool, *, dataset_names: Sequence[str] | None = None, **keywords) -> dict:
        """`dataset_names`: whose label maps are read; None: those of DATASETS.TRAIN, at test of DATASETS.TEST."""
        if dataset_names is None:
            dataset_names = cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST
        shared = super().from_config(cfg, is_train, **keywords)
        # Without ground truth no labels are read: the dataset may have others, or none.
        facts = _label_facts(dataset_names) if shared["with_ground_truth"] else (0, IGNORE_LABEL)
        return {**shared, "num_categories": facts[0], "ignore_label": facts[1]}

    def ground_truth(self, record: Record, image_hw: tuple[int, int], transforms: T.TransformList) -> Record:
        _require(record, "sem_seg_file_name")
        objects = category_masks(record, image_hw, transforms, self.num_categories, self.ignore_label)
        return {"instances": self.to_instances(objects)}


class CaptionMapper:
    """Image and caption for contrastive training of CLIP.

    The image is resized to `resolution` pixels on its shorter side and cropped to a square: anywhere in training, in
    the middle at test. Flips are allowed in training, as captions of Shapes know no left and right.

    Args:
        resolution: side of the square image in pixels (key INPUT.IMAGE_SIZE).
        is_train: random crop and flip.
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
        _require_rgb(cfg)
        flip = cfg.INPUT.RANDOM_FLIP == "horizontal"
        return {"resolution": cfg.INPUT.IMAGE_SIZE, "is_train": is_train, "flip": flip}

    def __call__(self, record: Record) -> Record:
        """Raises FileNotFoundError or ValueError, naming the file, if the image or the caption is missing or unfit."""
        _require(record, "caption")
        image, _, image_hw = _augmented_image(record, self.augmentations)
        top, left = ((side - self.resolution) // 2 for side in image.shape[:2])
        square = image[top : top + self.resolution, left : left + self.resolution]
        fields = _image_fields(record, image_hw)
        return {**fields, "image": _channels_first(square), "caption": record["caption"]}


def _lsj(mapper_class: type) -> Callable:
    def build(cfg, is_train: bool, **keywords) -> Callable[[Record], Record]:
        return mapper_class(cfg, is_train, recipe="large_scale_jitter", **keywords)

    return build


MAPPERS: dict[str, Callable] = {
    "panoptic": PanopticMapper,
    "panoptic_lsj": _lsj(PanopticMapper),
    "instance": InstanceMapper,
    "instance_lsj": _lsj(InstanceMapper),
    "semantic": SemanticMapper,
    "semantic_lsj": _lsj(SemanticMapper),
    "captions": CaptionMapper,
}
# Names that Mask2Former's YAML files use for the same recipes.
_MASK2FORMER_NAMES = {
    "mask_former_panoptic": "panoptic",
    "coco_panoptic_lsj": "panoptic_lsj",
    "mask_former_instance": "instance",
    "coco_instance_lsj": "instance_lsj",
    "mask_former_semantic": "semantic",
}


def build_mapper(
    cfg, is_train: bool, with_ground_truth: bool | None = None, dataset_names: Sequence[str] | None = None
) -> Callable[[Record], Record]:
    """The mapper that INPUT.DATASET_MAPPER_NAME names.

    Args:
        cfg: the configuration.
        is_train: augment; else only resize as INPUT.{MIN_SIZE_TEST, MAX_SIZE_TEST} say.
        with_ground_truth: give ground truth; None: in training, and at test where it is the source of proposals.
        dataset_names: the datasets whose records it will read; None: DATASETS.TRAIN, at test DATASETS.TEST.

    Raises:
        ValueError: the name is unknown, or semantic label maps of these datasets cannot be read alike.
    """
    name = cfg.INPUT.DATASET_MAPPER_NAME
    name = _MASK2FORMER_NAMES.get(name, name)
    if name not in MAPPERS:
        known = ", ".join([*MAPPERS, *_MASK2FORMER_NAMES])
        raise ValueError(f"INPUT.DATASET_MAPPER_NAME is {name!r}; known: {known}.")
    if name == "captions":
        return CaptionMapper(cfg, is_train)
    if with_ground_truth is None:
        with_ground_truth = is_train or cfg.MODEL.MASQCLIP.PROPOSER.SOURCE == "ground_truth"
    keywords = {"with_ground_truth": with_ground_truth}
    if name.startswith("semantic"):
        keywords["dataset_names"] = dataset_names
    return MAPPERS[name](cfg, is_train, **keywords)


def _label_facts(dataset_names: Sequence[str]) -> tuple[int, int]:
    """Number of categories and ignore label of semantic datasets, by their metadata.

    Raises:
        ValueError: a dataset has no categories, or the ignore labels differ.
    """
    counts, ignore_labels = {}, {}
    for name in dataset_names:
        metadata = MetadataCatalog.get(name)
        counts[name] = len(getattr(metadata, "stuff_classes", ()))
        ignore_labels[name] = int(getattr(metadata, "ignore_label", IGNORE_LABEL))
        if not counts[name]:
            raise ValueError(
                f"Dataset {name!r} has no metadata 'stuff_classes', the categories of its label maps; register it with "
                "them (masqclip_d2.register_semantic), or choose another INPUT.DATASET_MAPPER_NAME."
            )
    if len(set(ignore_labels.values())) > 1:
        listed = ", ".join(f"{name}: {label}" for name, label in ignore_labels.items())
        raise ValueError(f"Datasets that are trained on together must have one ignore label, but have {listed}.")
    return max(counts.values()), next(iter(ignore_labels.values()))


def _augmented_image(
    record: Record, augmentations: T.AugmentationList
) -> tuple[np.ndarray, T.TransformList, tuple[int, int]]:
    """Read and augment: (H, W, 3) uint8, the transforms, and (height, width) before them."""
    image = read_image(record["file_name"])
    utils.check_image_size(dict(record), image)
    augmented = T.AugInput(image)
    transforms = augmentations(augmented)
    return augmented.image, transforms, image.shape[:2]


def _image_fields(record: Record, image_hw: tuple[int, int]) -> Record:
    fields = {key: record[key] for key in ("file_name", "image_id") if key in record}
    return {**fields, "height": image_hw[0], "width": image_hw[1]}  # semantic datasets do not record it


def _channels_first(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))  # (3, H, W)


def _padded(tensor: Tensor, min_side: int, value: int) -> Tensor:
    """Pad the last two axes at their ends to at least `min_side`."""
    height, width = tensor.shape[-2:]
    padding = (0, max(min_side - width, 0), 0, max(min_side - height, 0))
    return torch.nn.functional.pad(tensor, padding, value=value) if any(padding) else tensor


def _require(record: Record, *keys: str) -> None:
    missing = [key for key in keys if key not in record]
    if missing:
        raise ValueError(
            f"The record of {record.get('file_name')} has no {', '.join(missing)}, which this mapper needs; choose the "
            "mapper by INPUT.DATASET_MAPPER_NAME, or use a dataset with such ground truth."
        )


def _require_rgb(cfg) -> None:
    if cfg.INPUT.FORMAT != "RGB":
        raise ValueError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}; images are RGB here, as CLIP needs: set it to RGB.")
