"""The default mapper from a dataset dict to a model input."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable

from . import detection_utils as utils
from . import transforms as T


class DatasetMapper:
    """Read the image, augment it with its annotations, convert both to tensors.

    The result has the keys of the dataset dict ("height" and "width" before augmentation) and:
        image: (C, H, W) uint8 in `image_format`'s channel order.
        sem_seg: (H, W) int64, if the dict has a `sem_seg_file_name`.
        instances: `Instances` without crowds, in training, if the dict has `annotations`; no `gt_masks` if it is empty.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        instance_mask_format: str = "polygon",
        recompute_boxes: bool = False,
    ):
        """Also: `DatasetMapper(cfg, is_train=True)`.

        Args:
            is_train: False omits annotations.
            augmentations: applied in sequence.
            image_format: as in `detection_utils.read_image`.
            use_instance_mask: whether instances get `gt_masks`.
            instance_mask_format: "polygon" or "bitmask".
            recompute_boxes: compute boxes from the transformed masks, which cropping can make smaller.
        """
        assert use_instance_mask or not recompute_boxes, "recompute_boxes needs use_instance_mask."
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.use_instance_mask = use_instance_mask
        self.instance_mask_format = instance_mask_format
        self.recompute_boxes = recompute_boxes

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        augmentations = utils.build_augmentation(cfg, is_train)
        crop = cfg.INPUT.CROP.ENABLED and is_train
        if crop:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
            "recompute_boxes": crop and cfg.MODEL.MASK_ON,
        }

    def __call__(self, dataset_dict: dict) -> dict:
        dataset_dict = copy.deepcopy(dataset_dict)
        image = utils.read_image(dataset_dict["file_name"], format=self.image_format)
        utils.check_image_size(dataset_dict, image)
        sem_seg = None
        if "sem_seg_file_name" in dataset_dict:
            sem_seg = utils.read_image(dataset_dict.pop("sem_seg_file_name"), "L").squeeze(2)
        aug_input = T.AugInput(image, sem_seg=sem_seg)
        transforms = self.augmentations(aug_input)
        image_size = aug_input.image.shape[:2]  # (height, width)
        # A copy: torch supports neither the negative strides of a flipped image nor an array that is read-only.
        dataset_dict["image"] = torch.from_numpy(np.array(aug_input.image.transpose(2, 0, 1), order="C"))
        if sem_seg is not None:
            dataset_dict["sem_seg"] = torch.from_numpy(np.asarray(aug_input.sem_seg, dtype=np.int64))
        annotations = dataset_dict.pop("annotations", None)
        if self.is_train and annotations is not None:
            dataset_dict["instances"] = self._instances(annotations, transforms, image_size)
        return dataset_dict

    def _instances(self, annotations: list[dict], transforms: T.Transform, image_size: tuple[int, int]):
        objects = []
        for annotation in annotations:
            if annotation.get("iscrowd", 0):
                continue
            annotation.pop("keypoints", None)
            if not self.use_instance_mask:
                annotation.pop("segmentation", None)
            objects.append(utils.transform_instance_annotations(annotation, transforms, image_size))
        instances = utils.annotations_to_instances(objects, image_size, mask_format=self.instance_mask_format)
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return utils.filter_empty_instances(instances)
