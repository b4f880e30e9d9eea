"""Dataset dicts from COCO instance annotations and from semantic label maps; COCO JSON from dataset dicts."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
from collections.abc import Sequence
from typing import Any

from detectron2.structures import Boxes, BoxMode, PolygonMasks
from detectron2.utils.file_io import PathManager

from ..catalog import DatasetCatalog, MetadataCatalog

_logger = logging.getLogger(__name__)


def load_coco_json(
    json_file: str,
    image_root: str,
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict]:
    """Load an instances file of COCO's format. Keypoints are not loaded.

    Args:
        json_file: path of the file.
        image_root: folder to which its file names are relative.
        dataset_name: if given, sets `thing_classes` and `thing_dataset_id_to_contiguous_id` of its metadata, and maps
            category ids to 0..n-1 in the order of ids; None keeps the ids of the file.
        extra_annotation_keys: annotation keys to keep beside iscrowd, bbox, category_id and segmentation.

    Returns:
        A dict per image, sorted by image id, with `file_name, height, width, image_id, annotations`.

    Raises:
        AssertionError: annotation ids repeat, an annotation has "ignore" set, or the metadata has other classes.
        KeyError: an annotation has an unknown category.
        ValueError: an annotation has an empty box.
    """
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(PathManager.get_local_path(json_file))
    contiguous_id = None if dataset_name is None else _set_categories(coco, dataset_name)
    if "minival" not in json_file:  # the published minival files repeat ids
        ids = [annotation["id"] for annotation in coco.dataset.get("annotations", [])]
        assert len(set(ids)) == len(ids), f"Annotation ids in '{json_file}' are not unique."

    kept_keys = ("iscrowd", "bbox", "category_id", *(extra_annotation_keys or ()))
    dicts, num_dropped = [], 0
    for image_id in sorted(coco.imgs):
        image = coco.imgs[image_id]
        records = []
        for annotation in coco.imgToAnns[image_id]:
            record = _load_annotation(annotation, kept_keys, contiguous_id)
            if record is None:
                num_dropped += 1
            else:
                records.append(record)
        dicts.append(
            {
                "file_name": os.path.join(image_root, image["file_name"]),
                "height": image["height"],
                "width": image["width"],
                "image_id": image_id,
                "annotations": records,
            }
        )
    if num_dropped:
        _logger.warning("Dropped %d annotations without a valid polygon from %s.", num_dropped, json_file)
    _logger.info("Loaded %d images in COCO format from %s", len(dicts), json_file)
    return dicts


def _set_categories(coco: Any, dataset_name: str) -> dict[int, int]:
    ids = sorted(coco.cats)
    metadata = MetadataCatalog.get(dataset_name)
    metadata.thing_classes = [coco.cats[i]["name"] for i in ids]
    if ids != list(range(1, len(ids) + 1)) and "coco" not in dataset_name:
        _logger.warning(
            "Category ids of '%s' are not 1..%d; they are mapped to 0..%d.", dataset_name, len(ids), len(ids) - 1
        )
    contiguous_id = {dataset_id: index for index, dataset_id in enumerate(ids)}
    metadata.thing_dataset_id_to_contiguous_id = contiguous_id
    return contiguous_id


def _load_annotation(
    annotation: Any, kept_keys: Sequence[str], contiguous_id: dict[int, int] | None
) -> dict[str, Any] | None:
    """Return a dataset dict's annotation; None if all of its polygons are invalid."""
    assert annotation.get("ignore", 0) == 0, f"Annotation {annotation['id']} has 'ignore' set; that is not supported."
    record = {key: annotation[key] for key in kept_keys if key in annotation}
    if "bbox" in record and len(record["bbox"]) == 0:
        raise ValueError(f"Annotation {annotation['id']} of image {annotation['image_id']} has an empty 'bbox'.")
    if segmentation := annotation.get("segmentation"):
        record["segmentation"] = _load_segmentation(segmentation)
        if not record["segmentation"]:
            return None
    record["bbox_mode"] = BoxMode.XYWH_ABS
    if contiguous_id is not None:
        category_id = annotation["category_id"]
        if category_id not in contiguous_id:
            raise KeyError(
                f"Annotation {annotation['id']} has category_id {category_id}, which the file does not list."
            )
        record["category_id"] = contiguous_id[category_id]
    return record


def _load_segmentation(segmentation: Any) -> Any:
    """Compress an uncompressed RLE; drop polygons with fewer than three points."""
    if isinstance(segmentation, list):
        return [polygon for polygon in segmentation if len(polygon) % 2 == 0 and len(polygon) >= 6]
    if isinstance(segmentation["counts"], list):
        from pycocotools import mask as mask_api

        return mask_api.frPyObjects(segmentation, *segmentation["size"])
    return segmentation


def register_coco_instances(name: str, metadata: dict, json_file: str, image_root: str) -> None:
    """Register a dataset of COCO's instances format. An existing function of that name is kept."""
    assert isinstance(name, str), f"A dataset name is a string; got {name!r}."
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata)


def load_sem_seg(gt_root: str, image_root: str, gt_ext: str = "png", image_ext: str = "jpg") -> list[dict]:
    """Pair label maps and images by their path without extension, relative to the two folders.

    Returns:
        Dicts with `file_name` and `sem_seg_file_name` only, sorted.

    Raises:
        AssertionError: there is no label map.
        FileNotFoundError: as many images as label maps, but one label map has no image.
    """
    label_maps, images = _files_by_stem(gt_root, gt_ext), _files_by_stem(image_root, image_ext)
    assert label_maps, f"There is no .{gt_ext} file in {gt_root}."
    stems = sorted(label_maps.keys() & images.keys())
    if len(label_maps) == len(images) > len(stems):
        missing = min(label_maps.keys() - images.keys())
        raise FileNotFoundError(f"There is no image in {image_root} for {missing}.{gt_ext} of {gt_root}.")
    if len(label_maps) != len(images):
        _logger.warning(
            "%s has %d label maps, %s has %d images; using the %d in both.",
            gt_root, len(label_maps), image_root, len(images), len(stems),
        )  # fmt: skip
    return [{"file_name": images[stem], "sem_seg_file_name": label_maps[stem]} for stem in stems]


def _files_by_stem(root: str, extension: str) -> dict[str, str]:
    return {
        os.path.splitext(name)[0]: os.path.join(root, name) for name in PathManager.ls(root) if name.endswith(extension)
    }


def convert_to_coco_json(dataset_name: str, output_file: str, allow_cached: bool = True) -> None:
    """Write a registered dataset as a COCO instances file; with `allow_cached` an existing file is kept."""
    from iopath.common.file_io import file_lock

    PathManager.mkdirs(os.path.dirname(output_file) or ".")
    with file_lock(output_file):
        if allow_cached and PathManager.exists(output_file):
            _logger.warning(
                "Using the existing %s as annotations of '%s'; delete it if it is outdated.", output_file, dataset_name
            )
            return
        coco_dict = convert_to_coco_dict(dataset_name)
        # Atomic: a process that is killed in between leaves no truncated file.
        temporary = f"{output_file}.tmp"
        with PathManager.open(temporary, "w") as file:
            json.dump(coco_dict, file)
        shutil.move(temporary, output_file)


def convert_to_coco_dict(dataset_name: str) -> dict[str, Any]:
    """Return a registered dataset in COCO's instances format, with the dataset's own category ids.

    Needs `height` and `width` in each dict; `annotations` is absent if there are none.
    """
    metadata = MetadataCatalog.get(dataset_name)
    to_contiguous = metadata.get("thing_dataset_id_to_contiguous_id") or {}
    dataset_id = {contiguous: original for original, contiguous in to_contiguous.items()}
    images, annotations = [], []
    for index, dataset_dict in enumerate(DatasetCatalog.get(dataset_name)):
        image_id = dataset_dict.get("image_id", index)
        size = {"width": int(dataset_dict["width"]), "height": int(dataset_dict["height"])}
        images.append({"id": image_id, **size, "file_name": str(dataset_dict["file_name"])})
        for annotation in dataset_dict.get("annotations", []):
            record = _to_coco_annotation(annotation, len(annotations) + 1, image_id)
            record["category_id"] = dataset_id.get(record["category_id"], record["category_id"])
            annotations.append(record)
    coco_dict = {
        "info": {"description": f"Made from the Detectron2 dataset '{dataset_name}'."},
        "licenses": None,
        "images": images,
        "categories": [{"id": dataset_id.get(i, i), "name": name} for i, name in enumerate(metadata.thing_classes)],
    }
    return {**coco_dict, "annotations": annotations} if annotations else coco_dict


def _to_coco_annotation(annotation: dict[str, Any], annotation_id: int, image_id: Any) -> dict[str, Any]:
    box = BoxMode.convert([float(x) for x in annotation["bbox"]], annotation["bbox_mode"], BoxMode.XYWH_ABS)
    segmentation: Any = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        from pycocotools import mask as mask_api

        area = float(mask_api.area(segmentation))  # pyright: ignore[reportArgumentType]  (an RLE)
        if isinstance(segmentation["counts"], bytes):
            segmentation = {**segmentation, "counts": segmentation["counts"].decode("ascii")}
    elif segmentation:
        area = float(PolygonMasks([segmentation]).area()[0])
        segmentation = [[float(x) for x in polygon] for polygon in segmentation]
    else:
        area = float(Boxes([BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)]).area()[0])
    record = {
        "id": annotation_id,
        "image_id": image_id,
        "bbox": [round(x, 3) for x in box],
        "area": area,
        "iscrowd": int(annotation.get("iscrowd", 0)),
        "category_id": int(annotation["category_id"]),
    }
    return {**record, "segmentation": segmentation} if segmentation else record
