"""Dataset dicts from COCO panoptic annotations."""

from __future__ import annotations

import json
import os

from detectron2.utils.file_io import PathManager

from ..catalog import DatasetCatalog, MetadataCatalog


def load_coco_panoptic_json(json_file: str, image_dir: str, gt_dir: str, meta: dict) -> list[dict]:
    """Load a panoptic file of COCO's format.

    Args:
        json_file: path of the file.
        image_dir: folder of the images; an image has the name of its PNG with the suffix .jpg.
        gt_dir: folder of the PNG files.
        meta: with `thing_dataset_id_to_contiguous_id` and `stuff_dataset_id_to_contiguous_id`; a category in both is
            a thing.

    Returns:
        A dict per image, in the order of the file: `file_name, image_id, pan_seg_file_name, segments_info`; no size.

    Raises:
        AssertionError: there are no annotations, or the first image or PNG is missing.
        KeyError: a segment has a category that is in neither map.
    """
    with PathManager.open(json_file) as file:
        annotations = json.load(file)["annotations"]
    dicts = [
        {
            "file_name": os.path.join(image_dir, os.path.splitext(annotation["file_name"])[0] + ".jpg"),
            "image_id": int(annotation["image_id"]),
            "pan_seg_file_name": os.path.join(gt_dir, annotation["file_name"]),
            "segments_info": [_to_contiguous(segment, meta, json_file) for segment in annotation["segments_info"]],
        }
        for annotation in annotations
    ]
    assert dicts, f"There is no annotation in {json_file}."
    for key in ("file_name", "pan_seg_file_name"):
        assert PathManager.isfile(dicts[0][key]), f"{dicts[0][key]}, named by {json_file}, does not exist."
    return dicts


def _to_contiguous(segment: dict, meta: dict, json_file: str) -> dict:
    for key, is_thing in (("thing_dataset_id_to_contiguous_id", True), ("stuff_dataset_id_to_contiguous_id", False)):
        if segment["category_id"] in meta[key]:
            return {**segment, "category_id": meta[key][segment["category_id"]], "isthing": is_thing}
    raise KeyError(
        f"Segment {segment['id']} in {json_file} has category_id {segment['category_id']}, "
        "which is in neither id map of the metadata."
    )


def register_coco_panoptic(
    name: str,
    metadata: dict,
    image_root: str,
    panoptic_root: str,
    panoptic_json: str,
    instances_json: str | None = None,
) -> None:
    """Register a dataset of COCO's panoptic format; `metadata` holds the two id maps and the class names."""
    DatasetCatalog.register(name, lambda: load_coco_panoptic_json(panoptic_json, image_root, panoptic_root, metadata))
    MetadataCatalog.get(name).set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        ignore_label=255,
        label_divisor=1000,
        **metadata,
    )
