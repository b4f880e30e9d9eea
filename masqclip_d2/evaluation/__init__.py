"""Evaluation on Detectron2's interface: panoptic, semantic, instance, class-agnostic recall, mask classification.

`build_evaluator` chooses by metadata; `report_results` prints the tables of a run; `evaluate_saved` repeats it from
saved predictions. The cores (`PanopticQuality`, `confusion_matrix`, `semantic_metrics`, `mask_iou`, `count_found`) take
arrays and know no dataset.
"""

from ..data.label_maps import id2rgb, rgb2id
from .build import answerable_tasks, build_evaluator, evaluators_for
from .class_agnostic import ProposalRecallEvaluator
from .instance import InstanceEvaluator
from .lvis import LvisEvaluator
from .mask_classification import MaskClassificationEvaluator
from .panoptic import PanopticEvaluator
from .panoptic_quality import PanopticQuality
from .report.published import row_of
from .report.results import comparison_text, report_results, results_table, write_results
from .report.saved_evaluation import evaluate_saved
from .report.saved_predictions import Origin, PredictionRecorder, prediction_folders, read_predictions
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
    "answerable_tasks",
    "build_evaluator",
    "comparison_text",
    "confusion_matrix",
    "evaluate_saved",
    "evaluators_for",
    "id2rgb",
    "prediction_folders",
    "read_predictions",
    "report_results",
    "results_table",
    "rgb2id",
    "row_of",
    "semantic_metrics",
    "write_results",
]
