"""Evaluation on Detectron2's interface: panoptic, semantic, instance, proposal recall, mask classification.

`build_evaluator` chooses the evaluators of a dataset; `report_results` prints the results table of a run;
`evaluate_saved` evaluates saved predictions. The functions and classes `PanopticQuality`, `confusion_matrix`,
`semantic_metrics`, `mask_iou` and `count_found` work on arrays, without a dataset.

May import `data` and everything below it, no training.
"""

from ..data.label_maps import id2rgb, rgb2id
from .build import build_evaluator, check_ground_truth, evaluators_for, tasks_with_ground_truth
from .instance import InstanceEvaluator
from .lvis import LvisEvaluator
from .mask_classification import MaskClassificationEvaluator
from .panoptic import PanopticEvaluator
from .panoptic_quality import PanopticQuality
from .prediction_recorder import Origin, PredictionRecorder
from .proposal_recall import ProposalRecallEvaluator, count_found, mask_iou
from .report.published_rows import row_of
from .report.results import comparison_text, report_results, results_table, write_results
from .report.saved_evaluation import evaluate_saved
from .report.saved_predictions import prediction_folders, read_predictions
from .semantic import SemanticEvaluator, confusion_matrix, semantic_metrics

__all__ = [
    "InstanceEvaluator",
    "LvisEvaluator",
    "MaskClassificationEvaluator",
    "Origin",
    "PanopticEvaluator",
    "PanopticQuality",
    "PredictionRecorder",
    "ProposalRecallEvaluator",
    "SemanticEvaluator",
    "build_evaluator",
    "check_ground_truth",
    "comparison_text",
    "confusion_matrix",
    "count_found",
    "evaluate_saved",
    "evaluators_for",
    "id2rgb",
    "mask_iou",
    "prediction_folders",
    "read_predictions",
    "report_results",
    "results_table",
    "rgb2id",
    "row_of",
    "semantic_metrics",
    "tasks_with_ground_truth",
    "write_results",
]

_RENAMED = {"answerable_tasks": "tasks_with_ground_truth"}


def __getattr__(name: str) -> None:
    if name in _RENAMED:  # an AttributeError's message would not reach the user of `from ... import`
        raise ImportError(f"{__name__}.{name} is now called {_RENAMED[name]}.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
