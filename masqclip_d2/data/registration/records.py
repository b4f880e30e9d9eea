"""Annotation files and label folders -> records, with one clear sentence for what is wrong in them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...categories import refuse_repeated
from .common import Record

logger = logging.getLogger(__name__)

_LEAST_POLYGON = 6  # numbers: three points


def read_annotations(path: str | os.PathLike) -> dict[str, Any]:
    """An annotation file in one of COCO's formats: `images`, `annotations` and `categories`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or lacks a part; categories repeat; an annotation belongs to no image of the file.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is damaged or truncated ({error}); make or download it again.") from None
    missing = {"images", "annotations", "categories"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise ValueError(f"{path} has no {', '.join(sorted(missing))}, which annotation files in COCO's formats have.")
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
    """Raise ValueError, beginning with `what` and the id, at the first row that lacks one of some entries."""
    for row in rows:
        missing = [key for key in keys if key not in row]
        if missing:
            shown = row.get("id", row.get("name", "without id"))
            raise ValueError(f"{what} {shown!r} has no {', '.join(missing)}, which COCO's formats ask for.")


def panoptic_records(path: str, metadata: dict[str, Any]) -> list[Record]:
    """One record per annotation of a COCO panoptic file: file_name, image_id, height, width, pan_seg_file_name,
    segments_info (contiguous category_id, isthing), and sem_seg_file_name where metadata has `sem_seg_root`.

    Raises:
        FileNotFoundError, ValueError: see `read_annotations`; a segment's category is not in the table.
    """
    contiguous, things = metadata["stuff_dataset_id_to_contiguous_id"], metadata["thing_dataset_id_to_contiguous_id"]
    content = read_annotations(path)
    images = {image["id"]: image for image in content["images"]}
    records = []
    for annotation in content["annotations"]:
        where = f"{path}, image {annotation['image_id']}"
        record = {
            **image_fields(images[annotation["image_id"]], metadata["image_root"]),
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
    """One record per image of a COCO instances file, by image id: file_name, image_id, height, width, annotations.

    As in Detectron2's reader, polygons of fewer than three points are left out, and annotations without any other.
    LVIS's images, which name their file by `coco_url`, keep `neg_category_ids` and `not_exhaustive_category_ids`.

    Raises:
        FileNotFoundError, ValueError: see `read_annotations`; an annotation's category is not in the table.
    """
    from detectron2.structures import BoxMode

    contiguous = metadata["thing_dataset_id_to_contiguous_id"]
    content = read_annotations(path)
    annotations: dict[Any, list[Record]] = {image["id"]: [] for image in content["images"]}
    dropped = 0
    for annotation in content["annotations"]:
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, list):
            segmentation = [p for p in segmentation if len(p) >= _LEAST_POLYGON and len(p) % 2 == 0]
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
        logger.warning("%s: %d annotations without a valid polygon are left out.", path, dropped)
    images = sorted(content["images"], key=lambda image: image["id"])
    return [
        {**image_fields(image, metadata["image_root"]), "annotations": annotations[image["id"]]} for image in images
    ]


def semantic_records(metadata: dict[str, Any], list_file: str | None = None) -> list[Record]:
    """One record per label map, by name: file_name, sem_seg_file_name, image_id (the name without its ending).

    Args:
        metadata: `image_root`, `image_suffix`, `sem_seg_root`, `label_suffix`.
        list_file: names of the split, one a line, where the folders hold more than it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: there are no label maps, or one has no image.
    """
    images = stems(metadata["image_root"], metadata["image_suffix"])
    labels = stems(metadata["sem_seg_root"], metadata["label_suffix"])
    wanted = labels
    if list_file is not None:
        wanted = {line.strip() for line in Path(list_file).read_text(encoding="utf-8").splitlines() if line.strip()}
        unlabelled = sorted(wanted - labels)
        if unlabelled:
            raise ValueError(
                f"{list_file} names {_few(unlabelled)}, but {metadata['sem_seg_root']} has no such label maps."
            )
    if not wanted:
        raise ValueError(f"{metadata['sem_seg_root']} has no label maps (*{metadata['label_suffix']}).")
    without_image = sorted(wanted - images)
    if without_image:
        raise ValueError(
            f"{len(without_image)} label maps of {metadata['sem_seg_root']} have no image in "
            f"{metadata['image_root']}: {_few(without_image)}."
        )
    return [
        {
            "file_name": os.path.join(metadata["image_root"], stem + metadata["image_suffix"]),
            "sem_seg_file_name": os.path.join(metadata["sem_seg_root"], stem + metadata["label_suffix"]),
            "image_id": stem,
        }
        for stem in sorted(wanted)
    ]


def stems(folder: str | os.PathLike, ending: str) -> set[str]:
    """Names, without the ending, of the files of a folder that have it."""
    return {name.removesuffix(ending) for name in os.listdir(folder) if name.endswith(ending)}


def _contiguous(contiguous: dict[int, int], category_id: int, where: str) -> int:
    if category_id not in contiguous:
        raise ValueError(
            f"{where} has category id {category_id}, which is not in the dataset's category table of {len(contiguous)}."
        )
    return contiguous[category_id]


def image_fields(image: dict[str, Any], image_root: str) -> Record:
    """What a record takes from an entry of `images`."""
    # LVIS names images by their address alone: .../train2017/000000000001.jpg
    file_name = image["file_name"] if "file_name" in image else "/".join(image["coco_url"].split("/")[-2:])
    fields = {
        "file_name": os.path.join(image_root, file_name),
        "image_id": image["id"],
        "height": image["height"],
        "width": image["width"],
    }
    return fields | {key: image[key] for key in ("neg_category_ids", "not_exhaustive_category_ids") if key in image}


def _few(values: Collection[Any], limit: int = 3) -> str:
    shown = ", ".join(map(str, list(values)[:limit]))
    return f"{shown}, ... ({len(values)} in all)" if len(values) > limit else shown
