"""Detectron2 records of annotation files and label folders; errors name the file and the fault."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..annotation_files import instances_of, segments_of
from .common import Record
from .image_folders import ImageFolder, files_by_stem, path_below


def panoptic_records(metadata: dict[str, Any]) -> list[Record]:
    """Return one record per annotation of the metadata's `panoptic_json`.

    A record has file_name, image_id, height, width, pan_seg_file_name, segments_info (contiguous category_id, isthing),
    ignored_segment_ids if there are any, and sem_seg_file_name if the metadata has `sem_seg_root`. Images may lie in
    sub-folders: `ImageFolder`.

    Raises:
        FileNotFoundError, ValueError: see `read_segments`.
    """
    contiguous, things = metadata["stuff_dataset_id_to_contiguous_id"], metadata["thing_dataset_id_to_contiguous_id"]
    segments = segments_of(metadata)
    segments.report.log()
    images = {image["id"]: image for image in segments.content["images"]}
    folder = ImageFolder(metadata["image_root"])
    records = []
    for annotation in segments.content["annotations"]:
        record = {
            **image_fields(images[annotation["image_id"]], folder),
            "pan_seg_file_name": path_below(metadata["panoptic_root"], annotation["file_name"]),
            "segments_info": [
                {**info, "category_id": contiguous[info["category_id"]], "isthing": info["category_id"] in things}
                for info in annotation["segments_info"]
            ],
        }
        if annotation["ignored_segment_ids"]:
            record["ignored_segment_ids"] = annotation["ignored_segment_ids"]
        if "sem_seg_root" in metadata:
            record["sem_seg_file_name"] = path_below(metadata["sem_seg_root"], annotation["file_name"])
        records.append(record)
    folder.log(metadata["panoptic_json"])
    return records


def instance_records(metadata: dict[str, Any]) -> list[Record]:
    """Return one record per image of the metadata's `json_file`, by image id.

    A record has file_name, image_id, height, width and annotations. Images may lie in sub-folders: `ImageFolder`.
    LVIS's images, which have a `coco_url` instead of a file name, keep `neg_category_ids` and
    `not_exhaustive_category_ids`.

    Raises:
        FileNotFoundError, ValueError: see `read_instances`.
    """
    from detectron2.structures import BoxMode

    contiguous = metadata["thing_dataset_id_to_contiguous_id"]
    instances = instances_of(metadata)
    instances.report.log()
    annotations: dict[Any, list[Record]] = {image["id"]: [] for image in instances.content["images"]}
    for annotation in instances.content["annotations"]:
        annotations[annotation["image_id"]].append(
            {
                "iscrowd": annotation["iscrowd"],
                "bbox": annotation["bbox"],
                "category_id": contiguous[annotation["category_id"]],
                "segmentation": annotation["segmentation"],
                "bbox_mode": BoxMode.XYWH_ABS,
            }
        )
    images = sorted(instances.content["images"], key=lambda image: image["id"])
    folder = ImageFolder(metadata["image_root"])
    records = [{**image_fields(image, folder), "annotations": annotations[image["id"]]} for image in images]
    folder.log(metadata["json_file"])
    return records


def semantic_records(metadata: dict[str, Any], list_file: str | None = None) -> list[Record]:
    """Return one record per label map, by name: file_name, sem_seg_file_name, image_id.

    An image and its label map have the same path, sub-folders included, below their folders and without their suffixes;
    that is the `image_id`. Images without a label map are skipped.

    Args:
        metadata: `image_root`, `image_suffix` (None: any image), `sem_seg_root`, `label_suffix`.
        list_file: file with the image ids of the split, one per line, if the folders contain more images.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: there are no label maps, or one has no image or several.
    """
    image_root, label_root, label_suffix = metadata["image_root"], metadata["sem_seg_root"], metadata["label_suffix"]
    for folder in (image_root, label_root):
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"There is no folder {folder}.")
    labels = files_by_stem(label_root, label_suffix)
    label_paths = {os.path.join(label_root, file) for files in labels.values() for file in files}
    images = files_by_stem(image_root, metadata["image_suffix"], exclude=label_paths)
    ids = set(labels)
    if list_file is not None:
        ids = {line.strip() for line in Path(list_file).read_text(encoding="utf-8").splitlines() if line.strip()}
        unlabelled = sorted(ids - set(labels))
        if unlabelled:
            raise ValueError(f"{list_file} lists {_few(unlabelled)}, but {label_root} has no such label maps.")
    if not ids:
        raise ValueError(f"{label_root} has no label maps (*{label_suffix}).")
    without_image = sorted(ids - set(images))
    if without_image:
        suffix = metadata["image_suffix"] or "a suffix such as .jpg"
        of_any_type = files_by_stem(image_root, None, exclude=label_paths)
        found = of_any_type.get(without_image[0])
        advice = f"; there is {found[0]}: leave out image_suffix to use images of all types" if found else ""
        if not advice and images and without_image[0] in labels and not ids & set(images):
            image, label_map = next(iter(images.values()))[0], labels[without_image[0]][0]
            advice = (
                f". Images have names such as {image}, label maps such as {label_map}; if their names end differently, "
                "give the ends as image_suffix and label_suffix"
            )
        raise ValueError(
            f"{len(without_image)} label maps of {label_root} have no image (the same name with {suffix}) in "
            f"{image_root}: {_few(without_image)}{advice}."
        )
    for files, root, what, advice in (
        (images, image_root, "images for one label map", "give image_suffix"),
        (labels, label_root, "label maps for one image", "remove all but one"),
    ):
        ambiguous = sorted(image_id for image_id in ids if len(files[image_id]) > 1)
        if ambiguous:
            raise ValueError(f"{root} has several {what}: {', '.join(files[ambiguous[0]])}; {advice}.")
    return [
        {
            "file_name": os.path.join(image_root, images[image_id][0]),
            "sem_seg_file_name": os.path.join(label_root, labels[image_id][0]),
            "image_id": image_id,
        }
        for image_id in sorted(ids)
    ]


def image_fields(image: dict[str, Any], folder: ImageFolder) -> Record:
    """Return the fields of a record that come from an entry of `images`."""
    # LVIS has only the URL of an image: .../train2017/000000000001.jpg
    file_name = image["file_name"] if "file_name" in image else "/".join(image["coco_url"].split("/")[-2:])
    fields = {
        "file_name": folder.path(file_name),
        "image_id": image["id"],
        "height": image["height"],
        "width": image["width"],
    }
    return fields | {key: image[key] for key in ("neg_category_ids", "not_exhaustive_category_ids") if key in image}


def _few(values: Collection[Any], limit: int = 3) -> str:
    shown = ", ".join(map(str, list(values)[:limit]))
    return f"{shown}, ... ({len(values)} in all)" if len(values) > limit else shown
