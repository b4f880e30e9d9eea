"""Evaluation of saved predictions by the same evaluators, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...data.label_maps import read_label_map, read_panoptic_png
from ...data.registration import canonical_name
from ...json_data import read_json
from ...vocabulary import Vocabulary
from ..build import build_task_evaluator
from ..instance import InstanceEvaluator
from ..instance_results import find, shown
from ..prediction_recorder import SEMANTIC_FOLDER, image_id_of
from .foreign_predictions import (
    foreign_predictions,
    has_boxes_only,
    is_foreign,
    require_registered_dataset,
    with_dataset_ids,
)
from .saved_predictions import EVALUATE_AGAIN, Predictions, read_predictions


def evaluate_saved(folder: str | Path, dataset_name: str | None = None) -> tuple[dict[str, dict], Predictions]:
    """Evaluate a folder of predictions, or a file or folder of another program.

    The metrics equal those of the run that saved the predictions; bit for bit if that was one process, since several
    processes add their sums in another order.

    Args:
        folder: OUTPUT_DIR/inference/<dataset> of an evaluation with TEST.SAVE_PREDICTIONS; with `dataset_name` also
            predictions of another program, see `foreign_predictions`.
        dataset_name: the dataset that the predictions must belong to; None: the one that the manifest names.

    Returns:
        {task: {metric: value}}, as Detectron2's evaluators return it, and the content of the manifest.

    Raises:
        FileNotFoundError: a file of the folder or of the dataset is missing.
        ValueError: the predictions belong to another dataset, other images of it, or other categories.
    """
    if dataset_name is not None and is_foreign(folder):
        predictions = foreign_predictions(folder, dataset_name)
    else:
        predictions = read_predictions(folder)
    records = _matching_records(predictions, dataset_name)
    evaluate = {"panoptic": _panoptic, "semantic": _semantic, "instance": _instance}
    results: dict[str, dict] = {}
    for task in predictions.tasks:
        results |= evaluate[task](predictions, records)
    return results, predictions


def _panoptic(predictions: Predictions, records: dict[Any, dict]) -> dict[str, dict]:
    evaluator: Any = build_task_evaluator("panoptic", predictions.dataset, None)
    path = predictions.file or predictions.folder / "predictions.json"
    pngs = predictions.png_folder or predictions.folder / "panoptic_png"
    content = _read(path)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise ValueError(f"{path} has no list 'annotations'; {EVALUATE_AGAIN}.")
    if predictions.file is not None:
        annotations = with_dataset_ids(annotations, predictions, str(path))
    for position, prediction in enumerate(annotations):
        record = _record_of(prediction, records, f"{path}, annotation {position}")
        segment_ids = read_panoptic_png(pngs / prediction["file_name"], "Saved prediction")
        # Ids are the dataset's own; other tools write `isthing` beside them, which in an output means contiguous ids.
        segments = [{**segment} for segment in prediction["segments_info"]]
        for segment in segments:
            segment.pop("isthing", None)
        try:
            evaluator.process([record], [{"panoptic_seg": (segment_ids, segments)}])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
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


def _semantic(predictions: Predictions, records: dict[Any, dict]) -> dict[str, dict]:
    evaluator: Any = build_task_evaluator("semantic", predictions.dataset, None)
    pngs = predictions.png_folder or predictions.folder / SEMANTIC_FOLDER
    for image in predictions.images:
        path = pngs / image["sem_seg"]
        evaluator.process([records[image["image_id"]]], [{"sem_seg_labels": read_label_map(path, "Saved prediction")}])
    return evaluator.evaluate()


def _instance(predictions: Predictions, records: dict[Any, dict]) -> dict[str, dict]:
    evaluator: Any = build_task_evaluator("instance", predictions.dataset, None)
    path = predictions.file or predictions.folder / evaluator.results_file
    results = _read(path)
    if predictions.file is not None:
        results = with_dataset_ids(results, predictions, str(path))
        if type(evaluator) is InstanceEvaluator and has_boxes_only(results):
            evaluator = InstanceEvaluator(predictions.dataset, tasks=("bbox",))  # of a detector
    evaluator.add_results(results, [image["image_id"] for image in predictions.images], str(path))
    return evaluator.evaluate() or {}


def _matching_records(predictions: Predictions, dataset_name: str | None) -> dict[Any, dict]:
    """The dataset's records by image id; the predicted images must be exactly these."""
    name, folder = predictions.dataset, predictions.folder
    if dataset_name is not None and canonical_name(dataset_name) != canonical_name(name):
        raise ValueError(f"The predictions in {folder} are of dataset {name!r}, not of {dataset_name!r}.")
    require_registered_dataset(name, folder)
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
