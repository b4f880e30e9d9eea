"""Registers datasets with Detectron2 at import: names and metadata. Files are read when a dataset is loaded.

| file | datasets (all with the prefix masqclip_) |
| --- | --- |
| coco_panoptic | coco_panoptic_{train,val} |
| coco_split | coco_instance_{train,val}_{base48,novel17,instances65} |
| ade20k | ade20k_{sem_seg,instance,panoptic}_{train,val} |
| ade20k_full | ade20k_full_sem_seg_{train,val} |
| pascal_context | pascal_context_{59,459}_sem_seg_{train,val} |
| pascal_voc | pascal_voc_{20,21}_sem_seg_{train,val} |
| lvis | lvis_v1_val |

`aliases` registers names that other projects use for these datasets, on request.
`custom` registers a user's own data.

Metadata of each dataset (contiguous ids are positions in the category table):
    thing_classes, thing_colors                 the table's things, which may be anywhere among the categories (ADE20K)
    stuff_classes, stuff_colors                 all categories, things included: one contiguous space
    thing_dataset_id_to_contiguous_id           things only
    stuff_dataset_id_to_contiguous_id           all categories, for semantic evaluation
    vocabulary                                  plain data for `Vocabulary.from_metadata`; its `groups` are the base and
                                                novel categories, {} if there is no such split
    evaluator_type, image_root                  and, by type, json_file, panoptic_json, panoptic_root, sem_seg_root,
                                                ignore_label (65535 if 255 is a category), label_divisor
    ignored_category_ids                        categories of a user's annotation files that the dataset leaves out
    instances_category_ids                      {id in json_file: id in panoptic_json} if a user's files differ
    detections_per_image                        LVIS: 300; other datasets: TEST.DETECTIONS_PER_IMAGE
    missing_hint, published_images              how to get missing files; number of images of the published set
"""

from .ade20k import register_ade20k
from .ade20k_full import register_ade20k_full
from .aliases import ALIASES, canonical_name, register_aliases, registered_names_near, require_registered
from .coco_panoptic import register_coco_panoptic
from .coco_split import register_coco_split
from .common import category_metadata, datasets_root
from .custom import register_instances, register_panoptic, register_semantic
from .lvis import register_lvis
from .pascal_context import register_pascal_context
from .pascal_voc import register_pascal_voc

__all__ = [
    "ALIASES",
    "category_metadata",
    "datasets_root",
    "canonical_name",
    "register_ade20k",
    "register_ade20k_full",
    "register_coco_panoptic",
    "register_coco_split",
    "register_aliases",
    "register_instances",
    "register_lvis",
    "register_panoptic",
    "register_pascal_context",
    "register_pascal_voc",
    "register_semantic",
    "registered_names_near",
    "require_registered",
]

register_coco_panoptic()
register_coco_split()
register_ade20k()
register_ade20k_full()
register_pascal_context()
register_pascal_voc()
register_lvis()
