"""Registers our datasets with Detectron2: names, files and metadata. Nothing is read before a dataset is used.

Metadata of each dataset (contiguous ids are positions in the category table):
    thing_classes, thing_colors                 the table's things, which come first in it
    stuff_classes, stuff_colors                 all categories, things included: one contiguous space
    thing_dataset_id_to_contiguous_id           things only
    stuff_dataset_id_to_contiguous_id           all categories, as semantic evaluation asks for each predicted id
    category_groups                             {"base": ids, "novel": ids}, contiguous
    vocabulary                                  plain data for `Vocabulary.from_metadata`
    evaluator_type, ignore_label, label_divisor, image_root, json_file, panoptic_json, panoptic_root
"""

from .coco_split import register_coco_split
from .common import category_metadata, datasets_root
from .shapes import register_shapes

__all__ = ["category_metadata", "datasets_root", "register_coco_split", "register_shapes"]

register_shapes()
register_coco_split()
