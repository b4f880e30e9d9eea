"""Predictions of other programs: results of instances, panoptic segments, label maps, without a manifest."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...data.registration import register_aliases
from ...data.registration.image_folders import files_by_stem
from ...json_data import read_json
from ...vocabulary import Vocabulary
from ..build import tasks_with_ground_truth
from ..instance_results import shown
from ..prediction_recorder import MANIFEST, Origin, image_id_of
from .saved_predictions import Predictions

_MAX_LISTED = 3

logger = logging.getLogger(__name__)


def is_foreign(path: str | Path) -> bool:
    """Whether a path is a file, or a folder without predictions of this package."""
    path = Path(path)
    if path.is_dir():
        return not (path / MANIFEST).is_file() and not any(path.glob(f"inference/*/{MANIFEST}"))
    return path.is_file()


def foreign_predictions(path: str | Path, dataset_name: str) -> Predictions:
    """Describe a file or folder of another program as `read_predictions` describes a folder.

    What it is depends on its content:
        a json list       instances, COCO's results, with the category ids of the dataset's json, and its image ids or
                          the names of its files, with or without suffix
        a json dict       COCO panoptic; its pngs are in a folder of the same name, in panoptic_png/ or beside it
        a folder          label maps with contiguous ids, the dataset's ignore label for "no category"; each has the
                          name of its image or of its label map in the dataset, in any sub-folder

    Args:
        path: the file or folder.
        dataset_name: of a registered dataset.

    Raises:
        ValueError: the dataset is not registered, has no ground truth for such predictions, or a label map is missing.
    """
    path = Path(path)
    require_registered_dataset(dataset_name, path)
    records = DatasetCatalog.get(dataset_name)
    images: list[dict[str, Any]] = [
        {"image_id": image_id_of(record), "file_name": record["file_name"]} for record in records
    ]
    file = path if path.is_file() else None
    pngs: Path | None = None
    if file is None:
        task, pngs = "semantic", path
    else:
        content = read_json(file)
        task = "instance" if isinstance(content, list) else "panoptic"
        if task == "panoptic":
            pngs = _png_folder(file, _first_annotation(file, content))
    available = tasks_with_ground_truth(dataset_name)
    if task not in available:
        raise ValueError(
            f"{path} has {task} predictions, but dataset {dataset_name!r} has ground truth for {', '.join(available)}."
        )
    if task == "semantic":
        for image, name in zip(images, _label_maps(path, records), strict=True):
            image["sem_seg"] = name
    names = Vocabulary.from_metadata(MetadataCatalog.get(dataset_name)).names
    return Predictions(path, dataset_name, (task,), names, tuple(images), Origin(), file, pngs)


def with_dataset_ids(entries: Any, predictions: Predictions, owner: str) -> Any:
    """Results or annotations of another program with the dataset's image ids in place of file names.

    Args:
        entries: the list of a file; an `image_id` that is a text, but no id of the dataset, is the name of a file of
            the dataset, with or without suffix and folders.
        predictions: as `foreign_predictions` describes them.
        owner: the file, for messages.

    Raises:
        ValueError: a name is that of several files.
    """
    if not isinstance(entries, list):
        return entries
    known = {image["image_id"] for image in predictions.images}
    named = {
        entry["image_id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("image_id"), str)
    }
    named -= known
    if not named:
        return entries
    images_of: dict[str, list[Mapping[str, Any]]] = {}
    for image in predictions.images:
        path = PurePath(image["file_name"])
        for name in {path.name, path.stem}:
            images_of.setdefault(name, []).append(image)
    ids: dict[str, Any] = {}
    for name in named:
        found = [image for image in images_of.get(PurePath(name).name, ()) if _is_name_of(name, image["file_name"])]
        if len(found) > 1:
            files = ", ".join(str(image["file_name"]) for image in found[:_MAX_LISTED])
            raise ValueError(
                f"{owner}: the image_id {shown(name)} is the name of {len(found)} files of dataset "
                f"{predictions.dataset!r} ({files}); write the image ids of the dataset."
            )
        ids.update((name, image["image_id"]) for image in found)
    if ids:
        logger.info("%s: %d image ids are names of files.", owner, len(ids))
    return [
        {**entry, "image_id": ids[entry["image_id"]]}
        if isinstance(entry, dict) and isinstance(entry.get("image_id"), str) and entry["image_id"] in ids
        else entry
        for entry in entries
    ]


def _is_name_of(name: str, file_name: str) -> bool:
    """Whether `name` is the end of a path, in whole parts, with or without suffix."""
    path, parts = PurePath(file_name), PurePath(name).parts
    return parts in (path.parts[-len(parts) :], path.with_suffix("").parts[-len(parts) :])


def has_boxes_only(results: Any) -> bool:
    """Whether results of instances have no masks, as those of a detector."""
    return (
        isinstance(results, list)
        and bool(results)
        and all(isinstance(result, dict) and "bbox" in result and "segmentation" not in result for result in results)
    )


def require_registered_dataset(name: str, owner: str | Path) -> None:
    """Raise ValueError if the dataset that the predictions of `owner` are of is not registered."""
    register_aliases([name])
    if name not in DatasetCatalog.list():
        raise ValueError(
            f"The predictions in {owner} are of dataset {name!r}, which is not registered; pass --import FILE "
            "with the file that registers it."
        )


def _first_annotation(file: Path, content: Any) -> dict[str, Any]:
    """The first entry of a panoptic json; the evaluation checks the others."""
    annotations = content.get("annotations") if isinstance(content, dict) else None
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    if not isinstance(first, dict) or "segments_info" not in first or not isinstance(first.get("file_name"), str):
        raise ValueError(
            f"{file} has neither a list of COCO's results nor 'annotations' with file_name and segments_info, as "
            "COCO's panoptic format. Of an annotation file with scores, write the list 'annotations' alone."
        )
    return first


def _png_folder(file: Path, annotation: dict[str, Any]) -> Path:
    """The folder of the pngs of a panoptic json: where that of an annotation is."""
    name = annotation["file_name"]
    folders = (file.with_suffix(""), file.parent / "panoptic_png", file.parent)
    for folder in folders:
        if (folder / name).is_file():
            return folder
    raise FileNotFoundError(f"{file} names the png {name}, which is in none of {', '.join(map(str, folders))}.")


def _label_maps(folder: Path, records: list[dict[str, Any]]) -> list[str]:
    """The label map of each record, below the folder."""
    found = files_by_stem(folder, ".png")
    by_name: dict[str, list[str]] = {}
    for files in found.values():
        for file in files:
            by_name.setdefault(Path(file).stem, []).append(file)
    chosen, missing = [], []
    for record in records:
        image_id, stem = str(image_id_of(record)), Path(record["file_name"]).stem
        labels = Path(record.get("sem_seg_file_name", "")).stem
        names = (stem, Path(image_id).name, labels, quote(image_id, safe=""))  # the last one as this package writes it
        files = found.get(image_id) or next((by_name[name] for name in names if name in by_name), [])
        if len(files) > 1:
            raise ValueError(f"{folder} has several label maps for {record['file_name']}: {', '.join(files)}.")
        (chosen if files else missing).append(files[0] if files else f"{stem}.png")
    if missing:
        raise ValueError(
            f"{folder} has no label maps for {len(missing)} of {len(records)} images, such as "
            f"{', '.join(missing[:_MAX_LISTED])}. Results of instances are passed as a json file, panoptic ones too."
        )
    return chosen
