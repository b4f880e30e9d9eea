"""Choice of evaluators: by the model class of a configuration and by the dataset's metadata `evaluator_type`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog, get_detection_dataset_dicts
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from ..data.file_checks import check_before_run
from ..data.training_loader import empty_datasets_named
from ..meta_arch.build import model_class
from .dataset_metadata import required
from .instance import InstanceEvaluator
from .lvis import LvisEvaluator
from .mask_classification import MaskClassificationEvaluator
from .panoptic import PanopticEvaluator
from .prediction_recorder import SAVED_TASKS, Origin, PredictionRecorder
from .proposal_recall import ProposalRecallEvaluator
from .semantic import SemanticEvaluator

logger = logging.getLogger(__name__)

TASKS = ("panoptic", "semantic", "instance", "proposals", "mask_classification")
"""All tasks that can be evaluated."""

_EVALUATORS: dict[str, Callable[[str, str | None], DatasetEvaluator]] = {
    "semantic": lambda name, output_dir: SemanticEvaluator(name),
    "instance": lambda name, output_dir: InstanceEvaluator(name, output_dir),
    "lvis": lambda name, output_dir: LvisEvaluator(name, output_dir),
    "proposals": lambda name, output_dir: ProposalRecallEvaluator(name),
    "mask_classification": lambda name, output_dir: MaskClassificationEvaluator(name),
}

# Metadata evaluator_type (Detectron2's names) -> tasks that its ground truth is good for.
_TASKS_OF_TYPE = {
    "coco_panoptic_seg": TASKS,
    "ade20k_panoptic_seg": TASKS,
    "coco": ("instance", "proposals", "mask_classification"),
    "lvis": ("instance", "mask_classification"),
    "sem_seg": ("semantic", "mask_classification"),
}
_NEED_INSTANCES_JSON = ("instance", "proposals")


def build_evaluator(cfg: Any, dataset_name: str, output_dir: str | None = None) -> DatasetEvaluators:
    """The evaluators of a dataset for the model of a configuration; see `tasks_of_config` and `evaluators_for`.

    With TEST.SAVE_PREDICTIONS the predictions are saved in `output_dir`, see `prediction_recorder`.
    """
    origin = Origin.from_config(cfg) if cfg.TEST.SAVE_PREDICTIONS else None
    return evaluators_for(dataset_name, output_dir, tasks_of_config(cfg), origin)


def check_ground_truth(cfg: Any, dataset_name: str) -> None:
    """Look at the images of a dataset, and at the files that the evaluators of a configuration will read.

    Raises:
        FileNotFoundError, ValueError: the dataset is empty, has no ground truth for the model, or see
            `check_before_run`.
    """
    with empty_datasets_named("DATASETS.TEST", [dataset_name]):
        records = get_detection_dataset_dicts(dataset_name, filter_empty=False, check_consistency=False)
    if not isinstance(records, list):
        return
    tasks = _evaluated_tasks(dataset_name, tasks_of_config(cfg))
    keys = {"sem_seg_file_name"} if "semantic" in tasks else set()
    if "panoptic" in tasks or ("semantic" in tasks and "sem_seg_file_name" not in records[0]):
        keys.add("pan_seg_file_name")
    check_before_run([dataset_name], records, keys, cfg.INPUT.MAX_MEGAPIXELS)


def tasks_of_config(cfg: Any) -> tuple[str, ...]:
    """The tasks that the model of a configuration predicts, some of `TASKS`.

    They are the result of the model class's class method `evaluation_tasks(cfg)`. Without that method: "proposals" if
    its class attribute `predicts_proposals` is true, else the tasks that MODEL.MASK_FORMER.TEST switches on.
    """
    model = model_class(cfg)
    if hasattr(model, "evaluation_tasks"):
        return tuple(model.evaluation_tasks(cfg))
    if getattr(model, "predicts_proposals", False):
        return ("proposals",)
    test = cfg.MODEL.MASK_FORMER.TEST
    switches = {
        "panoptic": test.PANOPTIC_ON,
        "semantic": test.SEMANTIC_ON,
        "instance": test.INSTANCE_ON,
    }
    return tuple(task for task, on in switches.items() if on)


def evaluators_for(
    dataset_name: str, output_dir: str | Path | None, tasks: Collection[str], save_as: Origin | None = None
) -> DatasetEvaluators:
    """Build the evaluators of those tasks that the dataset has ground truth for.

    Args:
        dataset_name: a registered dataset with metadata `evaluator_type`.
        output_dir: where instances are written, and with `save_as` all predictions; None writes nothing.
        tasks: some of `TASKS`.
        save_as: save the predictions in `output_dir` with this origin, for `evaluate_saved`; None: do not save them.

    Raises:
        ValueError: a task or the evaluator type is unknown, no task is left, or there is no folder to save in.
    """
    unknown = sorted(set(tasks) - set(TASKS))
    if unknown:
        raise ValueError(f"Unknown tasks {unknown}; known: {', '.join(TASKS)}.")
    chosen = _evaluated_tasks(dataset_name, tasks)
    left_out = [task for task in TASKS if task in tasks and task not in chosen]
    if left_out:
        logger.info("%s has no ground truth for %s: not evaluated.", dataset_name, ", ".join(left_out))
    output_dir = str(output_dir) if output_dir is not None else None
    evaluators = [build_task_evaluator(task, dataset_name, output_dir, save_as is not None) for task in chosen]
    if save_as is not None:
        evaluators += _recorders(dataset_name, output_dir, chosen, save_as)
    return DatasetEvaluators(evaluators)


def _evaluated_tasks(dataset_name: str, tasks: Collection[str]) -> list[str]:
    """Those of the tasks that a dataset has ground truth for; ValueError if there are none."""
    available = tasks_with_ground_truth(dataset_name)
    chosen = [task for task in TASKS if task in tasks and task in available]
    if not chosen:
        needs_instances = set(tasks) & set(_NEED_INSTANCES_JSON) and "panoptic" in available
        raise ValueError(
            f"Nothing to evaluate on dataset {dataset_name!r}: the model predicts {', '.join(tasks) or 'nothing'}, the "
            f"dataset has ground truth for {', '.join(available)} (by its metadata 'evaluator_type' and 'json_file'). "
            + ("Register it with the instances json as well (instances=), or leave" if needs_instances else "Leave")
            + ' it out of DATASETS.TEST; "()" trains without evaluation.'
        )
    return chosen


def tasks_with_ground_truth(dataset_name: str) -> tuple[str, ...]:
    """Which of `TASKS` a dataset has ground truth for, by its metadata `evaluator_type` and `json_file`.

    Raises:
        ValueError: the evaluator type is missing or unknown.
    """
    metadata = MetadataCatalog.get(dataset_name)
    evaluator_type = required(metadata, "evaluator_type", "evaluation")
    if evaluator_type not in _TASKS_OF_TYPE:
        raise ValueError(
            f"Dataset {dataset_name!r} has evaluator_type {evaluator_type!r}, for which there is no evaluator; known: "
            f"{', '.join(_TASKS_OF_TYPE)}."
        )
    tasks = _TASKS_OF_TYPE[evaluator_type]
    if getattr(metadata, "json_file", None) is None:
        tasks = tuple(task for task in tasks if task not in _NEED_INSTANCES_JSON)
    return tasks


def build_task_evaluator(
    task: str, dataset_name: str, output_dir: str | None, save_predictions: bool = False
) -> DatasetEvaluator:
    """The evaluator of one of `TASKS`; "instance" follows LVIS's rules if the metadata `evaluator_type` is "lvis"."""
    if task == "panoptic":
        return PanopticEvaluator(dataset_name, output_dir, write_predictions=save_predictions)
    is_lvis = MetadataCatalog.get(dataset_name).evaluator_type == "lvis"
    return _EVALUATORS["lvis" if is_lvis and task == "instance" else task](dataset_name, output_dir)


def _recorders(
    dataset_name: str, output_dir: str | None, tasks: Sequence[str], origin: Origin
) -> list[PredictionRecorder]:
    if output_dir is None:
        raise ValueError("Predictions are to be saved, but there is no output_dir for them.")
    not_saved = [task for task in tasks if task not in SAVED_TASKS]
    if not_saved:
        logger.warning("%s: predictions of %s are not saved.", dataset_name, ", ".join(not_saved))
    saved = [task for task in tasks if task in SAVED_TASKS]
    return [PredictionRecorder(dataset_name, output_dir, saved, origin)] if saved else []
