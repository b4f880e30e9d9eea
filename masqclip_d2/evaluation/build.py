"""Which evaluators a dataset gets: by its metadata `evaluator_type`, and by the answers that the model gives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.modeling import META_ARCH_REGISTRY

from ..proposer import proposer_class
from .class_agnostic import ProposalRecallEvaluator
from .dataset_facts import required
from .instance import InstanceEvaluator
from .lvis import LvisEvaluator
from .mask_classification import MaskClassificationEvaluator
from .panoptic import PanopticEvaluator
from .report.saved_predictions import SAVED_TASKS, Origin, PredictionRecorder
from .semantic import SemanticEvaluator

logger = logging.getLogger(__name__)

_BUILDERS: dict[str, Callable[[str, str | None], DatasetEvaluator]] = {
    "semantic": lambda name, output_dir: SemanticEvaluator(name),
    "instance": lambda name, output_dir: InstanceEvaluator(name, output_dir),
    "lvis": lambda name, output_dir: LvisEvaluator(name, output_dir),
    "proposals": lambda name, output_dir: ProposalRecallEvaluator(name),
    "mask_classification": lambda name, output_dir: MaskClassificationEvaluator(name),
}
TASKS = ("panoptic", "semantic", "instance", "proposals", "mask_classification")
"""What can be evaluated."""

# Metadata evaluator_type (Detectron2's names) -> what its ground truth can answer.
_TASKS_OF_TYPE = {
    "coco_panoptic_seg": TASKS,
    "ade20k_panoptic_seg": TASKS,
    "coco": ("instance", "proposals", "mask_classification"),
    "lvis": ("instance", "mask_classification"),
    "sem_seg": ("semantic", "mask_classification"),
}
_NEED_INSTANCES_JSON = ("instance", "proposals")


def build_evaluator(cfg: Any, dataset_name: str, output_dir: str | None = None) -> DatasetEvaluators:
    """The evaluators of a dataset for the model of a configuration; see `evaluators_for`.

    A proposer is evaluated by the recall of its proposals; every other model by the answers that
    MODEL.MASK_FORMER.TEST switches on and, where its masks are the ground truth, by how well it classifies them. With
    TEST.SAVE_PREDICTIONS the answers are left in `output_dir`, see `saved_predictions`.
    """
    origin = Origin.from_config(cfg) if cfg.TEST.SAVE_PREDICTIONS else None
    return evaluators_for(dataset_name, output_dir, tasks_of_config(cfg), origin)


def predicts_proposals(cfg: Any) -> bool:
    """Whether the model of a configuration is a proposer: masks without words are all that it answers."""
    return getattr(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), "predicts_proposals", False)


def tasks_of_config(cfg: Any) -> tuple[str, ...]:
    """Which of `TASKS` the model of a configuration answers."""
    if predicts_proposals(cfg):
        return ("proposals",)
    test = cfg.MODEL.MASK_FORMER.TEST
    switches = {
        "panoptic": test.PANOPTIC_ON,
        "semantic": test.SEMANTIC_ON,
        "instance": test.INSTANCE_ON,
        "mask_classification": proposer_class(cfg).needs_ground_truth,
    }
    return tuple(task for task, on in switches.items() if on)


def evaluators_for(
    dataset_name: str, output_dir: str | Path | None, tasks: Collection[str], save_as: Origin | None = None
) -> DatasetEvaluators:
    """Build the evaluators of those tasks that the dataset has ground truth for.

    Args:
        dataset_name: a registered dataset with metadata `evaluator_type`.
        output_dir: where instances are written, and with `save_as` all answers; None writes nothing.
        tasks: some of `TASKS`.
        save_as: leave the answers in `output_dir` as those of this run, for `evaluate_saved`; None: do not.

    Raises:
        ValueError: a task or the evaluator type is unknown, no task is left, or there is no folder to save in.
    """
    unknown = sorted(set(tasks) - set(TASKS))
    if unknown:
        raise ValueError(f"Unknown tasks {unknown}; known: {', '.join(TASKS)}.")
    answerable = answerable_tasks(dataset_name)
    chosen = [task for task in TASKS if task in tasks and task in answerable]
    left_out = [task for task in TASKS if task in tasks and task not in answerable]
    if not chosen:
        raise ValueError(
            f"Nothing to evaluate on dataset {dataset_name!r}: the model answers {', '.join(tasks) or 'nothing'}, the "
            f"dataset has ground truth for {', '.join(answerable)} (by its metadata 'evaluator_type' and 'json_file')."
        )
    if left_out:
        logger.info("%s has no ground truth for %s: not evaluated.", dataset_name, ", ".join(left_out))
    output_dir = str(output_dir) if output_dir is not None else None
    evaluators = [build_task_evaluator(task, dataset_name, output_dir, save_as is not None) for task in chosen]
    if save_as is not None:
        evaluators += _recorders(dataset_name, output_dir, chosen, save_as)
    return DatasetEvaluators(evaluators)


def answerable_tasks(dataset_name: str) -> tuple[str, ...]:
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
    answerable = _TASKS_OF_TYPE[evaluator_type]
    if getattr(metadata, "json_file", None) is None:
        answerable = tuple(task for task in answerable if task not in _NEED_INSTANCES_JSON)
    return answerable


def build_task_evaluator(
    task: str, dataset_name: str, output_dir: str | None, save_predictions: bool = False
) -> DatasetEvaluator:
    """The evaluator of one of `TASKS`, by the rules of the dataset's metadata `evaluator_type`."""
    if task == "panoptic":
        return PanopticEvaluator(dataset_name, output_dir, write_predictions=save_predictions)
    is_lvis = MetadataCatalog.get(dataset_name).evaluator_type == "lvis"
    return _BUILDERS["lvis" if is_lvis and task == "instance" else task](dataset_name, output_dir)


def _recorders(
    dataset_name: str, output_dir: str | None, tasks: Sequence[str], origin: Origin
) -> list[PredictionRecorder]:
    if output_dir is None:
        raise ValueError("Predictions are to be saved, but there is no output_dir for them.")
    not_saved = [task for task in tasks if task not in SAVED_TASKS]
    if not_saved:
        logger.warning("%s: answers for %s are not saved.", dataset_name, ", ".join(not_saved))
    saved = [task for task in tasks if task in SAVED_TASKS]
    return [PredictionRecorder(dataset_name, output_dir, saved, origin)] if saved else []
