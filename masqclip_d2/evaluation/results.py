"""The last word of an evaluation: one table with the definition of each number, and a JSON file that can be traced."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Results = Mapping[str, Mapping[str, Mapping[str, float]]]
"""dataset -> task -> metric -> value in percent, as Detectron2's evaluators give."""

# Beginning of a metric's name -> what it is, longer names first. A suffix (_base, _th) says over which categories.
_DEFINITIONS = (
    ("PQ", "panoptic quality, mean over categories"),
    ("SQ", "segmentation quality: mean IoU of matched segments"),
    ("RQ", "recognition quality: F1 of segments at IoU > 0.5"),
    ("mIoU_gt_or_pred", "mean IoU, categories in ground truth or prediction (Detectron2 up to v0.6)"),
    ("mIoU", "mean IoU, categories in ground truth (Detectron2 since July 2022)"),
    ("fwIoU", "IoU weighted by pixels of the ground truth"),
    ("mACC", "mean pixel recall, categories in ground truth"),
    ("pACC", "share of pixels with the right category"),
    ("AP50r", "AP50 of rare categories"),
    ("AP50c", "AP50 of common categories"),
    ("AP50f", "AP50 of frequent categories"),
    ("APr", "AP of rare categories (LVIS: in fewer than 10 training images)"),
    ("APc", "AP of common categories (LVIS: in 10 to 99 training images)"),
    ("APf", "AP of frequent categories (LVIS: in 100 and more training images)"),
    ("APs", "AP of small objects"),
    ("APm", "AP of medium objects"),
    ("APl", "AP of large objects"),
    ("AP50", "average precision at IoU 0.5"),
    ("AP75", "average precision at IoU 0.75"),
    ("AP", "average precision, mean over IoU 0.5:0.95"),
    ("ARs@", "AR of small objects"),
    ("ARm@", "AR of medium objects"),
    ("ARl@", "AR of large objects"),
    ("AR@", "class-agnostic mask recall of the best n proposals, mean over IoU 0.5:0.95"),
    ("top1_per_category", "ground-truth masks given the right word, mean over categories"),
    ("top1_lt", "top1 of things whose longer box side is below, pixels"),
    ("top1_ge", "top1 of things whose longer box side is at least, pixels"),
    ("top1", "ground-truth masks given the right word"),
    ("top5", "ground-truth masks whose right word is among the best five"),
)
_SIZE_RANGE = re.compile(r"top1_\d+to\d+")


def report_results(results: Results, cfg: Any) -> None:
    """Print the table of all test sets and write results.json to OUTPUT_DIR.

    Args:
        results: see `Results`.
        cfg: the configuration of the run.
    """
    path = Path(cfg.OUTPUT_DIR) / "results.json"
    write_results(path, results, config_text=cfg.dump(), seed=cfg.SEED, weights=cfg.MODEL.WEIGHTS)
    logger.info("Results (percent; nan: nothing to measure), also in %s:\n%s", path, results_table(results))


def results_table(results: Results) -> str:
    """Dataset, task, metric, value, definition as text. Rows of single categories (`AP-cat`) are only in the JSON."""
    from tabulate import tabulate

    rows = [
        (dataset, task, metric, value, definition(metric))
        for dataset, tasks in results.items()
        for task, metrics in tasks.items()
        for metric, value in metrics.items()
        if "-" not in metric
    ]
    headers = ("dataset", "task", "metric", "value", "definition")
    return tabulate(rows, headers=headers, floatfmt=".2f", tablefmt="pipe", disable_numparse=[2])


def definition(metric: str) -> str:
    """What a metric is, in a few words; empty for one that is not ours."""
    if _SIZE_RANGE.fullmatch(metric):
        return "top1 of things whose longer box side is in this range, pixels"
    return next((text for beginning, text in _DEFINITIONS if metric.startswith(beginning)), "")


def write_results(
    path: str | Path, results: Results, *, config_text: str = "", seed: int | None = None, weights: str = ""
) -> None:
    """Write numbers and what they came from as strict JSON (undefined numbers are null).

    Args:
        path: file to write; its folder is made.
        results: see `Results`.
        config_text: the whole configuration; its sha256 is written.
        seed: cfg.SEED; negative means not fixed.
        weights: which weights were evaluated.
    """
    content = {
        "results": {
            dataset: {task: _json_numbers(metrics) for task, metrics in tasks.items()}
            for dataset, tasks in results.items()
        },
        "unit": "percent",
        "weights": weights,
        "seed": seed,
        "config_sha256": hashlib.sha256(config_text.encode()).hexdigest(),
        "versions": _versions(),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _json_numbers(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {metric: float(value) if math.isfinite(value) else None for metric, value in metrics.items()}


def _versions() -> dict[str, str]:
    import torch

    from .. import __version__
    from .._compat import detectron2_backend

    backend = detectron2_backend()
    return {
        "masqclip_d2": __version__,
        "detectron2": f"{backend.kind} {backend.version}",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
