"""Mappers turn a dataset's record into a model's input; INPUT.DATASET_MAPPER_NAME names one.

Input: a record of one image in Detectron2's format. Output: a dict with
    image           (3, H, W) uint8 RGB tensor, augmented; padding (large-scale jitter) is gray, right and bottom
    height, width, image_id, file_name     of the image before augmentation
    instances       in training, or on request: Instances in the frame of `image` with gt_masks (BitMasks), gt_classes
                    (contiguous), gt_boxes. Padding belongs to no mask; crowds are left out; may have length 0
    proposal_masks, proposal_scores     in training, if the proposer reads stored masks (`Proposer.stored_masks`):
                    (N, H, W) bool in the frame of `image`, without masks that a crop removes, and (N,) float32
    sem_seg         panoptic ground truth only: (H, W) int64 contiguous classes, 255 ignore
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import MetadataCatalog
from detectron2.structures import BitMasks, Boxes, Instances
from torch import Tensor

from ..coco_masks import ScoredMasks
from ..image_files import MAX_MEGAPIXELS
from ..proposer import proposer_class
from ..user_code import unknown_name
from . import registration  # noqa: F401  (registers our datasets)
from .augmentation import evaluation_augmentations, training_augmentations
from .ground_truth import (
    ObjectMasks,
    category_masks,
    instance_masks,
    panoptic_masks,
    semantic_map,
    transformed_masks,
)
from .images import channels_first, read_image, require_recorded_size
from .label_maps import IGNORE_LABEL

_PADDING = 128  # gray value of padded pixels, as FixedSizeCrop's

Record = dict[str, Any]
MapperType = TypeVar("MapperType", bound=Callable)

MAPPERS: dict[str, Callable] = {}
"""Values of INPUT.DATASET_MAPPER_NAME -> mappers, see `register_mapper`."""


def register_mapper(*names: str) -> Callable[[MapperType], MapperType]:
    """Decorator that makes a mapper available as INPUT.DATASET_MAPPER_NAME.

    A mapper is a class or function that `build_mapper` calls as `mapper(cfg, is_train)` to get a function record ->
    record. Subclasses of `SegmentationMapper` also get `with_ground_truth` and `dataset_names`.

    Raises:
        ValueError: a name is taken.
    """

    def register(mapper: MapperType) -> MapperType:
        taken = [name for name in names if name in MAPPERS]
        if taken:
            raise ValueError(f"There already is a mapper {', '.join(taken)}; choose another name.")
        MAPPERS.update(dict.fromkeys(names, mapper))
        return mapper

    return register


def build_mapper(
    cfg, is_train: bool, with_ground_truth: bool | None = None, dataset_names: Sequence[str] | None = None
) -> Callable[[Record], Record]:
    """The mapper that INPUT.DATASET_MAPPER_NAME names.

    Args:
        cfg: the configuration.
        is_train: augment; False: only resize to INPUT.{MIN_SIZE_TEST, MAX_SIZE_TEST}.
        with_ground_truth: add ground truth; None: in training, and at test if the proposer needs it.
        dataset_names: datasets of the records; None: DATASETS.TRAIN, at test DATASETS.TEST.

    Raises:
        ValueError: the name is unknown, or the semantic label maps of these datasets differ in their ignore label.
    """
    name = cfg.INPUT.DATASET_MAPPER_NAME
    if name not in MAPPERS:
        raise unknown_name("INPUT.DATASET_MAPPER_NAME", name, MAPPERS)
    mapper = MAPPERS[name]
    if not (isinstance(mapper, type) and issubclass(mapper, SegmentationMapper)):
        return mapper(cfg, is_train)
    if with_ground_truth is None:
        with_ground_truth = is_train or proposer_class(cfg).needs_ground_truth
    return mapper(cfg, is_train, with_ground_truth=with_ground_truth, dataset_names=dataset_names)


class SegmentationMapper(ABC):
    """Base class of the panoptic, instance and semantic mappers: read, check, augment, pad.

    Args:
        augmentations: Detectron2 augmentations of image and masks.
        with_ground_truth: add `instances`, and `sem_seg` if the ground truth has it.
        min_side: pad image and masks to at least this many pixels on both sides; at most 0: no padding.
        stored_masks: see `Proposer.stored_masks`; None: add no proposals.
        max_megapixels: limit of image files, see `image_files.opened_image`.
    """

    recipe: ClassVar[str] = "shortest_edge"
    """Augmentations in training, one of `augmentation.RECIPES`."""
    ground_truth_keys: ClassVar[tuple[str, ...]] = ()
    """Which of `file_checks.GROUND_TRUTH_KEYS` it reads; their files are looked at before a training."""

    @configurable
    def __init__(
        self,
        *,
        augmentations: list[T.Augmentation],
        with_ground_truth: bool,
        min_side: int = -1,
        stored_masks: Callable[[Record, tuple[int, int]], ScoredMasks] | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        self.augmentations = T.AugmentationList(augmentations)
        self.with_ground_truth = with_ground_truth
        self.min_side = min_side
        self.stored_masks = stored_masks
        self.max_megapixels = max_megapixels

    @classmethod
    def from_config(
        cls,
        cfg,
        is_train: bool,
        *,
        with_ground_truth: bool | None = None,
        dataset_names: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Read INPUT.*; see `build_mapper`. `with_ground_truth` None: in training only."""
        require_rgb(cfg)
        return {
            "augmentations": training_augmentations(cfg, cls.recipe) if is_train else evaluation_augmentations(cfg),
            "with_ground_truth": is_train if with_ground_truth is None else with_ground_truth,
            "min_side": cfg.INPUT.SIZE_DIVISIBILITY if is_train else -1,
            "stored_masks": proposer_class(cfg).stored_masks(cfg) if is_train else None,
            "max_megapixels": cfg.INPUT.MAX_MEGAPIXELS,
        }

    def __call__(self, record: Record) -> Record:
        """Read and augment; FileNotFoundError or ValueError names an image or ground-truth file that is unusable."""
        image, transforms, image_hw = augmented_image(record, self.augmentations, self.max_megapixels)
        mapped = image_fields(record, image_hw)
        mapped["image"] = _padded(channels_first(image), self.min_side, _PADDING)
        if self.with_ground_truth:
            mapped |= self.ground_truth(record, image_hw, transforms)
        if self.stored_masks is not None:
            mapped |= self._proposals(self.stored_masks(record, image_hw), transforms)
        return mapped

    @abstractmethod
    def ground_truth(self, record: Record, image_hw: tuple[int, int], transforms: T.TransformList) -> Record:
        """Entries `instances` and, if available, `sem_seg`; `image_hw` is the image's size before the transforms."""

    def _proposals(self, stored: ScoredMasks, transforms: T.TransformList) -> Record:
        visible = transformed_masks(list(stored.masks), range(len(stored.masks)), stored.masks.shape[1:], transforms)
        masks = _padded(torch.from_numpy(visible.masks), self.min_side, False)
        return {"proposal_masks": masks, "proposal_scores": torch.from_numpy(stored.scores[visible.classes])}

    def to_instances(self, objects: ObjectMasks) -> Instances:
        """Masks as Detectron2 structures, padded to `min_side`."""
        masks = BitMasks(_padded(torch.from_numpy(objects.masks), self.min_side, False))
        height, width = masks.tensor.shape[1:]
        instances = Instances((height, width), gt_masks=masks, gt_classes=torch.from_numpy(objects.classes))
        instances.gt_boxes = Boxes(_tight_boxes(objects.masks))
        return instances


@register_mapper("panoptic", "mask_former_panoptic")
class PanopticMapper(SegmentationMapper):
    """Panoptic PNG -> masks of things and stuff, and the semantic map. Reads pan_seg_file_name and segments_info."""

    ground_truth_keys = ("pan_seg_file_name",)

    def ground_truth(self, record: Record, image_hw: tuple[int, int], transforms: T.TransformList) -> Record:
        require_keys(record, "pan_seg_file_name", "segments_info")
        objects = panoptic_masks(record, image_hw, transforms)
        sem_seg = torch.from_numpy(semantic_map(objects))
        return {"sem_seg": _padded(sem_seg, self.min_side, IGNORE_LABEL), "instances": self.to_instances(objects)}


@register_mapper("instance", "mask_former_instance")
class InstanceMapper(SegmentationMapper):
    """Instance annotations (polygons or run-length) -> masks of things, which may overlap. Reads annotations."""

    ground_truth_keys = ("annotations",)

    def ground_truth(self, record: Record, image_hw: tuple[int, int], transforms: T.TransformList) -> Record:
        require_keys(record, "annotations")
        return {"instances": self.to_instances(instance_masks(record, image_hw, transforms))}


@register_mapper("semantic", "mask_former_semantic")
class SemanticMapper(SegmentationMapper):
    """Semantic label map -> one mask per category in it, as in Mask2Former. Reads sem_seg_file_name.

    Args:
        num_categories: K; labels are 0..K-1.
        ignore_label: of pixels without a category, which belong to no mask.
        shared: arguments of `SegmentationMapper`.
    """

    ground_truth_keys = ("sem_seg_file_name",)

    @configurable
    def __init__(self, *, num_categories: int, ignore_label: int, **shared) -> None:
        super().__init__(**shared)
        self.num_categories = num_categories
        self.ignore_label = ignore_label

    @classmethod
    def from_config(cls, cfg, is_train: bool, *, dataset_names: Sequence[str] | None = None, **keywords) -> dict:
        """Also read the categories of `dataset_names` (None: DATASETS.TRAIN, at test DATASETS.TEST)."""
        names = dataset_names or (cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST)
        shared = super().from_config(cfg, is_train, **keywords)
        # Without ground truth no labels are read, so the datasets need none.
        facts = _label_facts(names) if shared["with_ground_truth"] else (0, IGNORE_LABEL)
        return {**shared, "num_categories": facts[0], "ignore_label": facts[1]}

    def ground_truth(self, record: Record, image_hw: tuple[int, int], transforms: T.TransformList) -> Record:
        require_keys(record, "sem_seg_file_name")
        objects = category_masks(record, image_hw, transforms, self.num_categories, self.ignore_label)
        return {"instances": self.to_instances(objects)}


@register_mapper("panoptic_lsj", "coco_panoptic_lsj")
class PanopticLsjMapper(PanopticMapper):
    """`PanopticMapper` with large-scale jitter."""

    recipe = "large_scale_jitter"


@register_mapper("instance_lsj", "coco_instance_lsj")
class InstanceLsjMapper(InstanceMapper):
    """`InstanceMapper` with large-scale jitter."""

    recipe = "large_scale_jitter"


@register_mapper("semantic_lsj")
class SemanticLsjMapper(SemanticMapper):
    """`SemanticMapper` with large-scale jitter."""

    recipe = "large_scale_jitter"


def _label_facts(dataset_names: Sequence[str]) -> tuple[int, int]:
    """Number of categories and ignore label of semantic datasets, from their metadata.

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
        raise ValueError(f"Datasets of one training must have the same ignore label, but have {listed}.")
    return max(counts.values()), next(iter(ignore_labels.values()))


def augmented_image(
    record: Record, augmentations: T.AugmentationList, max_megapixels: float = MAX_MEGAPIXELS
) -> tuple[np.ndarray, T.TransformList, tuple[int, int]]:
    """Read and augment an image: (H, W, 3) uint8, the transforms, and (height, width) before them."""
    image = read_image(record["file_name"], max_megapixels)
    require_recorded_size(record, image.shape[:2])
    augmented = T.AugInput(image)
    transforms = augmentations(augmented)
    return augmented.image, transforms, image.shape[:2]


def image_fields(record: Record, image_hw: tuple[int, int]) -> Record:
    """Name, id and size of the image; the size is the file's, since records of semantic datasets have none."""
    fields = {key: record[key] for key in ("file_name", "image_id") if key in record}
    return {**fields, "height": image_hw[0], "width": image_hw[1]}


def _tight_boxes(masks: np.ndarray) -> Tensor:
    """(N, 4) float32 xyxy of masks (N, H, W) bool, x2 and y2 one past the last pixel; zeros for an empty mask.

    As `BitMasks.get_bounding_boxes`, in a tenth of its time.
    """

    import cv2

    boxes = np.array([cv2.boundingRect(mask) for mask in masks.view(np.uint8)], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return torch.from_numpy(boxes)


def _padded(tensor: Tensor, min_side: int, value: int) -> Tensor:
    """Pad the last two axes at their ends to at least `min_side`."""
    height, width = tensor.shape[-2:]
    padding = (0, max(min_side - width, 0), 0, max(min_side - height, 0))
    return torch.nn.functional.pad(tensor, padding, value=value) if any(padding) else tensor


def require_keys(record: Record, *keys: str) -> None:
    """ValueError if the record lacks one of the keys."""
    missing = [key for key in keys if key not in record]
    if missing:
        raise ValueError(
            f"The record of {record.get('file_name')} has no {', '.join(missing)}, which this mapper needs; choose "
            "another mapper with INPUT.DATASET_MAPPER_NAME, or a dataset with such ground truth."
        )


def require_rgb(cfg) -> None:
    """ValueError unless INPUT.FORMAT is RGB."""
    if cfg.INPUT.FORMAT != "RGB":
        raise ValueError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}; CLIP needs RGB images: set it to RGB.")
