"""Registers COCO and ADE20K under the folder `DETECTRON2_DATASETS` (default: `datasets`)."""

from __future__ import annotations

import os

from ..catalog import DatasetCatalog, MetadataCatalog
from .builtin_meta import ADE20K_SEM_SEG_CATEGORIES, _get_builtin_metadata
from .coco import load_sem_seg, register_coco_instances
from .coco_panoptic import register_coco_panoptic

# name -> (image folder, instances file), relative to coco/ and coco/annotations/
_COCO_INSTANCES = {
    "coco_2014_train": ("train2014", "instances_train2014.json"),
    "coco_2014_val": ("val2014", "instances_val2014.json"),
    "coco_2014_minival": ("val2014", "instances_minival2014.json"),
    "coco_2014_valminusminival": ("val2014", "instances_valminusminival2014.json"),
    "coco_2017_train": ("train2017", "instances_train2017.json"),
    "coco_2017_val": ("val2017", "instances_val2017.json"),
    "coco_2017_test": ("test2017", "image_info_test2017.json"),
    "coco_2017_test-dev": ("test2017", "image_info_test-dev2017.json"),
    "coco_2017_val_100": ("val2017", "instances_val2017_100.json"),
}
_COCO_PANOPTIC = {"coco_2017_train": "train2017", "coco_2017_val": "val2017", "coco_2017_val_100": "val2017_100"}


def register_all_coco(root: str) -> None:
    """Register instances and panoptic annotations of COCO in `root`/coco."""
    coco = os.path.join(root, "coco")
    annotations = os.path.join(coco, "annotations")
    for name, (images, json_file) in _COCO_INSTANCES.items():
        register_coco_instances(
            name, _get_builtin_metadata("coco"), os.path.join(annotations, json_file), os.path.join(coco, images)
        )
    for name, split in _COCO_PANOPTIC.items():
        images, json_file = _COCO_INSTANCES[name]
        register_coco_panoptic(
            f"{name}_panoptic",
            _get_builtin_metadata("coco_panoptic_standard"),
            os.path.join(coco, images),
            os.path.join(coco, f"panoptic_{split}"),
            os.path.join(annotations, f"panoptic_{split}.json"),
            os.path.join(annotations, json_file),
        )


def register_all_ade20k(root: str) -> None:
    """Register the 150 semantic classes of ADE20K in `root`/ADEChallengeData2016."""
    ade20k = os.path.join(root, "ADEChallengeData2016")
    for name, split in (("train", "training"), ("val", "validation")):
        images = os.path.join(ade20k, "images", split)
        labels = os.path.join(ade20k, "annotations_detectron2", split)
        dataset = f"ade20k_sem_seg_{name}"
        DatasetCatalog.register(dataset, lambda x=images, y=labels: load_sem_seg(y, x, gt_ext="png", image_ext="jpg"))
        MetadataCatalog.get(dataset).set(
            stuff_classes=list(ADE20K_SEM_SEG_CATEGORIES),
            image_root=images,
            sem_seg_root=labels,
            evaluator_type="sem_seg",
            ignore_label=255,
        )


_root = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))
register_all_coco(_root)
register_all_ade20k(_root)
