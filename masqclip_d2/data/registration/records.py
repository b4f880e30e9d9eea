"""Reads annotation files and label folders into Detectron2 records; errors name the file and the fault."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...categories import refuse_repeated
from .common import Record
from .image_folders import ImageFolder, files_by_stem

logger = logging.getLogger(__name__)

_MIN_POLYGON = 6  # coordinates: three points


def read_annotations(path: str | os.PathLike) -> dict[str, Any]:
    """Read an annotation file in one of COCO's formats: `images`, `annotations` and `categories`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not valid JSON, or incomplete; duplicate categories; an annotation of an image that is not listed.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is damaged or truncated ({error}); create or download it again.") from None
    missing = {"images", "annotations", "categories"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise ValueError(f"{path} has no {', '.join(sorted(missing))}, which COCO's formats require.")
    require_entries(content["categories"], ("id", "name"), f"{path}: category")
    require_entries(content["images"], ("id",), f"{path}: image")
    require_entries(content["annotations"], ("image_id",), f"{path}: annotation")
    refuse_repeated(content["categories"], str(path))
    images = {image["id"] for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in images:
            raise ValueError(
                f"{path} has annotations of image {annotation['image_id']!r}, which is not among its {len(images)} "
                "images; is it another split's file?"
            )
    return content


def require_entries(rows: Iterable[Mapping[str, Any]], keys: Sequence[str], what: str) -> None:
    """Raise ValueError, starting with `what` and the id, for the first row that lacks one of the keys."""
    for row in rows:
        missing = [key for key in keys if key not in row]
        if missing:
            shown = row.get("id", row.get("name", "without id"))
            raise ValueError(f"{what} {shown!r} has no {', '.join(missing)}, which COCO's formats require.")


def panoptic_records(path: str, metadata: dict[str, Any]) -> list[Record]:
    """Return one record per annotation of a COCO panoptic file.

    A record has file_name, image_id, height, width, pan_seg_file_name, segments_info (contiguous category_id, isthing),
    and sem_seg_file_name if the metadata has `sem_seg_root`. Images may lie in sub-folders: `ImageFolder`.

    Raises:
        FileNotFoundError, ValueError: see `read_annotations`; or a segment's category is not in the category table.
    """
    contiguous, things = metadata["stuff_dataset_id_to_contiguous_id"], metadata["thing_dataset_id_to_contiguous_id"]
    content = read_annotations(path)
    images = {image["id"]: image for image in content["images"]}
    folder = ImageFolder(metadata["image_root"])
    records = []
    for annotation in content["annotations"]:
        where = f"{path}, image {annotation['image_id']}"
        record = {
            **image_fields(images[annotation["image_id"]], folder),
            "pan_seg_file_name": os.path.join(metadata["panoptic_root"], annotation["file_name"]),
            "segments_info": [
                {
                    **info,
                    "category_id": _contiguous(contiguous, info["category_id"], where),
                    "isthing": info["category_id"] in things,
                }
                for info in annotation["segments_info"]
            ],
        }
        if "sem_seg_root" in metadata:
            record["sem_seg_file_name"] = os.path.join(metadata["sem_seg_root"], annotation["file_name"])
        records.append(record)
    return records


def instance_records(path: str, metadata: dict[str, Any]) -> list[Record]:
    """Return one record per image of a COCO instances file, by image id.

    A record has file_name, image_id, height, width and annotations. Images may lie in sub-folders: `ImageFolder`. As in
    Detectron2's reader, polygons of fewer than three points are dropped, and annotations without any other polygon.
    LVIS's images, which have a `coco_url` instead of a file name, keep `neg_category_ids` and
    `not_exhaustive_category_ids`.

    Raises:
        FileNotFoundError, ValueError: see `read_annotations`; or an annotation's category is not in the category table.
    """
    from detectron2.structures import BoxMode

    contiguous = metadata["thing_dataset_id_to_contiguous_id"]
    content = read_annotations(path)
    annotations: dict[Any, list[Record]] = {image["id"]: [] for image in content["images"]}
    dropped = 0
    for annotation in content["annotations"]:
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, list):
            segmentation = [p for p in segmentation if len(p) >= _MIN_POLYGON and len(p) % 2 == 0]
        if not segmentation:
            dropped += 1
            continue
        annotations[annotation["image_id"]].append(
            {
                "iscrowd": annotation.get("iscrowd", 0),
                "bbox": annotation["bbox"],
                "category_id": _contiguous(
                    contiguous, annotation["category_id"], f"{path}, annotation {annotation['id']}"
                ),
                "segmentation": segmentation,
                "bbox_mode": BoxMode.XYWH_ABS,
            }
        )
    if dropped:
        logger.warning("%s: dropped %d annotations without a valid polygon.", path, dropped)
    images = sorted(content["images"], key=lambda image: image["id"])
    folder = ImageFolder(metadata["image_root"])
    return [{**image_fields(image, folder), "annotations": annotations[image["id"]]} for image in images]


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
        raise ValueError(
            f"{len(without_image)} label maps of {label_root} have no image (the same name with {suffix}) in "
            f"{image_root}: {_few(without_image)}."
        )
    ambiguous = sorted(image_id for image_id in ids if len(images[image_id]) > 1)
    if ambiguous:
        raise ValueError(
            f"{image_root} has several images for one label map: {', '.join(images[ambiguous[0]])}; give image_suffix."
        )
    return [
        {
            "file_name": os.path.join(image_root, images[image_id][0]),
            "sem_seg_file_name": os.path.join(label_root, labels[image_id][0]),
            "image_id": image_id,
        }
        for image_id in sorted(ids)
    ]


def _contiguous(contiguous: dict[int, int], category_id: int, where: str) -> int:
    if category_id not in contiguous:
        raise ValueError(
            f"{where} has category id {category_id}, which is not among the {len(contiguous)} categories of the "
            "dataset."
        )
    return contiguous[category_id]


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
