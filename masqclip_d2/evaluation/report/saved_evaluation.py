"""Evaluation of saved predictions by the same evaluators, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...data.label_maps import read_label_map, read_panoptic_png
from ...data.registration import canonical_name, register_aliases
from ...json_data import read_json
from ...vocabulary import Vocabulary
from ..build import build_task_evaluator
from ..instance_results import find, shown
from ..prediction_recorder import SEMANTIC_FOLDER, image_id_of
from .saved_predictions import EVALUATE_AGAIN, Predictions, read_predictions


def evaluate_saved(folder: str | Path, dataset_name: str | None = None) -> tuple[dict[str, dict], Predictions]:
    """Evaluate a folder of predictions.

    The metrics equal those of the run that saved the predictions; bit for bit if that was one process, since several
    processes add their sums in another order.

    Args:
        folder: OUTPUT_DIR/inference/<dataset> of an evaluation with TEST.SAVE_PREDICTIONS.
        dataset_name: the dataset that the predictions must belong to; None: the one that the manifest names.

    Returns:
        {task: {metric: value}}, as Detectron2's evaluators return it, and the content of the manifest.

    Raises:
        FileNotFoundError: a file of the folder or of the dataset is missing.
        ValueError: the predictions belong to another dataset, other images of it, or other categories.
    """
    predictions = read_predictions(folder)
    records = _matching_records(predictions, dataset_name)
    evaluate = {"panoptic": _panoptic, "semantic": _semantic, "instance": _instance}
    results: dict[str, dict] = {}
    for task in predictions.tasks:
        evaluator = build_task_evaluator(task, predictions.dataset, None)
        results |= evaluate[task](evaluator, predictions, records)
    return results, predictions


def _panoptic(evaluator: Any, predictions: Predictions, records: dict[Any, dict]) -> dict[str, dict]:
    path = predictions.folder / "predictions.json"
    content = _read(path)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise ValueError(f"{path} has no list 'annotations'; {EVALUATE_AGAIN}.")
    for position, prediction in enumerate(annotations):
        record = _record_of(prediction, records, f"{path}, annotation {position}")
        png = predictions.folder / "panoptic_png" / prediction["file_name"]
        segment_ids = read_panoptic_png(png, "Saved prediction")
        evaluator.process([record], [{"panoptic_seg": (segment_ids, prediction["segments_info"])}])
    return evaluator.evaluate()


def _record_of(prediction: Any, records: dict[Any, dict], where: str) -> dict:
    """The dataset's record for an entry of predictions.json; ValueError if the entry is incomplete."""
    if not isinstance(prediction, dict) or not isinstance(prediction.get("file_name"), str):
        raise ValueError(f"{where} has no file_name; {EVALUATE_AGAIN}.")
    record = find(records, prediction.get("image_id"))
    if record is None:
        raise ValueError(
            f"{where} has the image_id {shown(prediction.get('image_id'))}, which the dataset does not have; "
            f"{EVALUATE_AGAIN}."
        )
    segments = prediction.get("segments_info")
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        raise ValueError(f"{where} has no list segments_info; {EVALUATE_AGAIN}.")
    for segment in segments:
        if not all(type(segment.get(key)) is int for key in ("id", "category_id")):
            raise ValueError(f"{where} has a segment {shown(segment)} without integer id or category_id.")
    return record


def _semantic(evaluator: Any, predictions: Predictions, records: dict[Any, dict]) -> dict[str, dict]:
    for image in predictions.images:
        path = predictions.folder / SEMANTIC_FOLDER / image["sem_seg"]
        evaluator.process([records[image["image_id"]]], [{"sem_seg_labels": read_label_map(path, "Saved prediction")}])
    return evaluator.evaluate()


def _instance(evaluator: Any, predictions: Predictions, records: dict[Any, dict]) -> dict[str, dict]:
    path = predictions.folder / evaluator.results_file
    evaluator.add_results(_read(path), [image["image_id"] for image in predictions.images], str(path))
    return evaluator.evaluate()


def _matching_records(predictions: Predictions, dataset_name: str | None) -> dict[Any, dict]:
    """The dataset's records by image id; the predicted images must be exactly these."""
    name, folder = predictions.dataset, predictions.folder
    if dataset_name is not None and canonical_name(dataset_name) != canonical_name(name):
        raise ValueError(f"The predictions in {folder} are of dataset {name!r}, not of {dataset_name!r}.")
    register_aliases([name])
    if name not in DatasetCatalog.list():
        raise ValueError(
            f"The predictions in {folder} are of dataset {name!r}, which is not registered; pass --import FILE "
            "with the file that registers it."
        )
    records = {image_id_of(record): record for record in DatasetCatalog.get(name)}
    predicted = {image["image_id"] for image in predictions.images}
    unknown = [i for i in predicted if i not in records]
    missing = [i for i in records if i not in predicted]
    if unknown:
        raise ValueError(
            f"The predictions in {folder} are of {len(unknown)} images that dataset {name!r} does not have, "
            f"{unknown[0]!r} among them; is DETECTRON2_DATASETS the same as when they were saved?"
        )
    if missing:
        raise ValueError(
            f"The predictions in {folder} lack {len(missing)} of the {len(records)} images of dataset {name!r}, "
            f"{missing[0]!r} among them; {EVALUATE_AGAIN}."
        )
    if Vocabulary.from_metadata(MetadataCatalog.get(name)).names != predictions.categories:
        raise ValueError(f"The predictions in {folder} were made with other categories than dataset {name!r} has.")
    return records


def _read(path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(
            f"The predictions in {path.parent} are incomplete: {path.name} is missing; {EVALUATE_AGAIN}."
        )
    return read_json(path)
