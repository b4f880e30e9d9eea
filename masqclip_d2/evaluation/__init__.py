"""Evaluation on Detectron2's interface: panoptic, semantic, instance, class-agnostic recall, mask classification.

`build_evaluator` chooses by metadata; `report_results` prints the table of a run. The cores (`PanopticQuality`,
`confusion_matrix`, `semantic_numbers`, `mask_iou`, `count_found`) take arrays and know no dataset.
"""

from ..data.label_maps import id2rgb, rgb2id
from .build import build_evaluator, evaluators_for
from .class_agnostic import ProposalRecallEvaluator
from .instance import InstanceEvaluator
from .lvis import LvisEvaluator
from .mask_classification import MaskClassificationEvaluator
from .panoptic import PanopticEvaluator
from .panoptic_quality import PanopticQuality
from .results import report_results, results_table, write_results
from .semantic import SemanticEvaluator, confusion_matrix, semantic_numbers

__all__ = [
    "InstanceEvaluator",
    "LvisEvaluator",
    "MaskClassificationEvaluator",
    "PanopticEvaluator",
    "PanopticQuality",
    "ProposalRecallEvaluator",
    "SemanticEvaluator",
    "build_evaluator",
    "confusion_matrix",
    "evaluators_for",
    "id2rgb",
    "report_results",
    "results_table",
    "rgb2id",
    "semantic_numbers",
    "write_results",
]
