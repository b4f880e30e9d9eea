"""The last word of an evaluation: one table with the definition of each number, and a JSON file that can be traced."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...files import save_text
from .published import has_published_numbers, published_value, row_of, side_by_side
from .saved_predictions import Origin

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
    """Print the tables of all test sets and write results.json to OUTPUT_DIR.

    Args:
        results: see `Results`.
        cfg: the configuration of the run.
    """
    path = Path(cfg.OUTPUT_DIR) / "results.json"
    row, difference = row_of(cfg)
    write_results(path, results, Origin.from_config(cfg), row)
    if not any(_flat(results)):
        logger.warning("No evaluator gave a number; %s says so too.", path)
        return
    logger.info("Results (percent; nan: nothing to measure), also in %s:\n%s", path, results_table(results, row))
    comparison = comparison_text(results, row, difference)
    if comparison:
        logger.info("%s", comparison)


def results_table(results: Results, row: str | None = None) -> str:
    """Dataset, task, metric, value, definition as text. Rows of single categories (`AP-cat`) are only in the JSON.

    Args:
        results: see `Results`.
        row: which row of the papers the run is, as `row_of` gives it; then published numbers stand beside ours.
    """
    from tabulate import tabulate

    rows = []
    for dataset, task, metric, value in _flat(results):
        if "-" not in metric:
            published = published_value(row, dataset, task, metric)
            rows.append((dataset, task, metric, value, published and published.value, definition(metric)))
    headers = ("dataset", "task", "metric", "value", "published", "definition")
    if all(cells[4] is None for cells in rows):
        rows = [(*cells[:4], cells[5]) for cells in rows]
        headers = (*headers[:4], headers[5])
    return tabulate(rows, headers=headers, floatfmt=".2f", tablefmt="pipe", disable_numparse=[2], missingval="-")


def comparison_text(results: Results, row: str | None, difference: str) -> str:
    """The papers' tables with this run in them, or why there are none; "" where the papers have no such dataset.

    Args:
        results: see `Results`.
        row, difference: as `row_of` gives them.
    """
    if not any(has_published_numbers(dataset) for dataset in results):
        return ""
    if row is None:
        return f"Published numbers are not shown: this configuration is no row of the papers' tables; {difference}."
    tables = side_by_side(results, row)
    return tables and (
        f"Published, not reproduced here; this run has the configuration of their row configs/{row}.yaml, with its own "
        f"weights and thresholds:\n\n{tables}"
    )


def _flat(results: Results) -> Iterator[tuple[str, str, str, float]]:
    for dataset, tasks in results.items():
        for task, metrics in tasks.items():
            for metric, value in metrics.items():
                yield dataset, task, metric, value


def definition(metric: str) -> str:
    """What a metric is, in a few words; empty for one that is not ours."""
    if _SIZE_RANGE.fullmatch(metric):
        return "top1 of things whose longer box side is in this range, pixels"
    return next((text for beginning, text in _DEFINITIONS if metric.startswith(beginning)), "")


def write_results(path: str | Path, results: Results, origin: Origin | None = None, row: str | None = None) -> None:
    """Write numbers and what they came from as strict JSON (undefined numbers are null).

    Args:
        path: file to write; its folder is made.
        results: see `Results`.
        origin: configuration, seed and weights of the run.
        row: which row of the papers the run is, as `row_of` gives it.
    """
    origin = origin or Origin()
    content = {
        "results": {
            dataset: {task: _json_numbers(metrics) for task, metrics in tasks.items()}
            for dataset, tasks in results.items()
        },
        "unit": "percent",
        "weights": origin.weights,
        "seed": origin.seed,
        "config_sha256": hashlib.sha256(origin.config.encode()).hexdigest(),
        "config": origin.config,
        "versions": _versions(),
        "published": {"row": row, "numbers": _published(results, row)},
    }
    save_text(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")


def _published(results: Results, row: str | None) -> list[dict[str, Any]]:
    """The published numbers of what was measured, with their places."""
    found = ((key[:3], published_value(row, *key[:3])) for key in _flat(results))
    return [
        {"dataset": dataset, "task": task, "metric": metric, **asdict(number)}
        for (dataset, task, metric), number in found
        if number is not None
    ]


def _json_numbers(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {metric: float(value) if math.isfinite(value) else None for metric, value in metrics.items()}


def _versions() -> dict[str, str]:
    import numpy
    import torch

    from ... import __version__
    from ..._compat import detectron2_backend

    backend = detectron2_backend()
    return {
        "masqclip_d2": __version__,
        "detectron2": f"{backend.kind} {backend.version}",
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pycocotools": version("pycocotools"),
        "python": platform.python_version(),
    }
