"""Final report of an evaluation: results tables with definitions of the metrics, and results.json with provenance."""

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
from ..prediction_recorder import Origin
from ..semantic import meaningless_semantics
from .other_methods import other_methods_text
from .published_rows import has_published_values, published_value, row_of, side_by_side

logger = logging.getLogger(__name__)

Results = Mapping[str, Mapping[str, Mapping[str, float]]]
"""dataset -> task -> metric -> value in percent, as Detectron2's evaluators return it."""

# Pattern of metric names -> the names and the definition that are printed. The name of a subset follows after "_"
# (PQ_th, AP50_base), see `split_metric`.
_DEFINITIONS = (
    ("PQ|SQ|RQ", "PQ, SQ, RQ", "panoptic quality; mean IoU of matched segments; F1 of segments at IoU > 0.5"),
    ("mIoU_gt_or_pred", "mIoU_gt_or_pred", "mIoU of categories in ground truth or prediction (Detectron2 up to v0.6)"),
    ("mIoU", "mIoU", "mean IoU of categories in the ground truth (Detectron2 since July 2022)"),
    ("fwIoU", "fwIoU", "IoU weighted by pixels of the ground truth"),
    ("mACC|pACC", "mACC, pACC", "mean pixel recall of categories in the ground truth; share of correct pixels"),
    ("AP(?:50)?[rcf]", "APr, APc, APf", "AP of rare, common, frequent categories of LVIS"),
    ("AP[sml]", "APs, APm, APl", "AP of small, medium, large objects"),
    ("AP|AP50|AP75", "AP, AP50, AP75", "average precision: mean over IoU 0.5:0.95; at IoU 0.5; at IoU 0.75"),
    (r"AR[sml]@\d+", "ARs, ARm, ARl", "AR of small, medium, large objects"),
    (r"R[58]0(?:ml)?@\d+", "R50, R80, R50ml, R80ml", "recall at IoU 0.5, 0.8; of medium or large objects"),
    (r"AR@\d+", "AR@n", "class-agnostic mask recall of the best n proposals, mean over IoU 0.5:0.95"),
    ("top1_per_category", "top1_per_category", "top1, mean over categories"),
    (r"top1_(?:lt\d+|\d+to\d+|ge\d+)", "top1_lt, _to, _ge", "top1 of things by the longer side of their box, pixels"),
    ("top1|top5", "top1, top5", "share of ground-truth masks whose category is the best, among the five best"),
)
_SUBSET_TITLES = {"": "all", "th": "things", "st": "stuff"}


def report_results(results: Results, cfg: Any) -> None:
    """Log the tables of all test sets and write results.json to OUTPUT_DIR.

    Args:
        results: see `Results`.
        cfg: the configuration of the run.
    """
    path = Path(cfg.OUTPUT_DIR) / "results.json"
    row, difference = row_of(cfg)
    write_results(path, results, Origin.from_config(cfg), row)
    if not any(_flat(results)):
        logger.warning("The evaluators returned no metrics; %s has none.", path)
        return
    logger.info("Results, also in %s with those of single categories:\n%s", path, results_table(results, row))
    for comparison in (comparison_text(results, row, difference), other_methods_text(results)):
        if comparison:
            logger.info("%s", comparison)


def results_table(results: Results, row: str | None = None) -> str:
    """One table per dataset, metrics x subsets of categories, with remarks, and the definitions of the metrics.

    Metrics of single categories (`AP-cat`) are in results.json only.

    Args:
        results: see `Results`.
        row: row of the papers that the run stands for, as `row_of` returns it; its published values are then added.
    """
    metrics = [metric for _, _, metric, _ in _flat(results) if "-" not in metric]
    parts = [
        "\n".join([f"{dataset}:", _dataset_table(dataset, tasks, row), *_remarks(tasks)])
        for dataset, tasks in results.items()
    ]
    definitions = dict.fromkeys(found for metric in metrics if (found := _definition_of(metric)[1:]) != ("", ""))
    width = max((len(names) for names, _ in definitions), default=0)
    legend = ["Percent; nan: no such object or category in the ground truth; -: not defined."]
    if any("[" in part for part in parts):
        legend.append("In square brackets: published values.")
    legend += [f"{names:{width}}  {text}" for names, text in definitions]
    return "\n\n".join([*parts, "\n".join(legend)])


def _remarks(tasks: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the metrics of a dataset leave out, or why they mean nothing."""
    found = []
    for task, metrics in tasks.items():
        of_categories = [value for metric, value in metrics.items() if metric.startswith("ACC-")]
        known = sum(not math.isnan(value) for value in of_categories)
        if remark := meaningless_semantics(metrics):
            found.append(f"{task}: {remark}.")
        elif known < len(of_categories):
            found.append(f"{task}: {known} of {len(of_categories)} categories occur in the ground truth.")
        elif metrics and all(math.isnan(value) for value in metrics.values()):
            found.append(f"{task}: no metric is defined, since the ground truth has no object that counts.")
    return found


def _dataset_table(dataset: str, tasks: Mapping[str, Mapping[str, float]], row: str | None) -> str:
    from tabulate import tabulate

    cells: dict[tuple[str, str], dict[str, str]] = {}
    subsets: dict[str, None] = {"": None}
    for task, values in tasks.items():
        for metric, value in values.items():
            if "-" in metric:
                continue
            name, subset = split_metric(metric)
            published = published_value(row, dataset, task, metric)
            text = f"{value:.2f}" + (f" [{published.value:g}]" if published is not None else "")
            cells.setdefault((task, name), {})[subset] = text
            subsets[subset] = None
    rows = [[*key, *(by_subset.get(subset, "-") for subset in subsets)] for key, by_subset in cells.items()]
    headers = ["task", "metric", *(_SUBSET_TITLES.get(subset, subset) for subset in subsets)]
    align = ("left", "left", *["right"] * len(subsets))
    return tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=align if rows else None)


def split_metric(metric: str) -> tuple[str, str]:
    """Split the name of a metric into metric and subset: "PQ_base" -> ("PQ", "base"); "mIoU" -> ("mIoU", "").

    Both spellings of things and stuff, "PQ_th" and "top1_things", have the subset "th" or "st".
    """
    pattern = _definition_of(metric)[0]
    matched = re.match(f"({pattern})(?:_(.+))?$", metric) if pattern else None
    if matched is None:
        return metric, ""
    subset = matched[2] or ""
    return matched[1], {"things": "th", "stuff": "st"}.get(subset, subset)


def definition(metric: str) -> str:
    """Definition of a metric in a few words; "" for an unknown one."""
    return _definition_of(metric)[2]


def _definition_of(metric: str) -> tuple[str, str, str]:
    """Pattern, names in the legend and definition; empty for an unknown metric."""
    found = (entry for entry in _DEFINITIONS if re.match(f"(?:{entry[0]})(?:_.+)?$", metric))
    return next(found, ("", "", ""))


def comparison_text(results: Results, row: str | None, difference: str) -> str:
    """The papers' tables with this run as a further row, or why they are not shown; "" if no dataset is in the papers.

    Args:
        results: see `Results`.
        row, difference: as `row_of` returns them.
    """
    if not any(has_published_values(dataset) for dataset in results):
        return ""
    if row is None:
        return f"Published values are not shown: this configuration is no row of the papers' tables; {difference}."
    tables = side_by_side(results, row)
    return tables and (
        f"Published, not reproduced here; this run has the configuration of their row configs/{row}.yaml, with its own "
        f"weights and thresholds:\n\n{tables}"
    )


def write_results(path: str | Path, results: Results, origin: Origin | None = None, row: str | None = None) -> None:
    """Write the metrics and their provenance as strict JSON (undefined values are null).

    Args:
        path: file to write; its folder is created.
        results: see `Results`.
        origin: configuration, seed and weights of the run.
        row: row of the papers that the run stands for, as `row_of` returns it.
    """
    origin = origin or Origin()
    content = {
        "results": {
            dataset: {task: _json_values(metrics) for task, metrics in tasks.items()}
            for dataset, tasks in results.items()
        },
        "unit": "percent",
        "weights": origin.weights,
        "seed": origin.seed,
        "config_sha256": hashlib.sha256(origin.config.encode()).hexdigest(),
        "config": origin.config,
        "versions": _versions(),
        "published": {"row": row, "values": _published(results, row)},
    }
    save_text(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")


def _flat(results: Results) -> Iterator[tuple[str, str, str, float]]:
    for dataset, tasks in results.items():
        for task, metrics in tasks.items():
            for metric, value in metrics.items():
                yield dataset, task, metric, value


def _published(results: Results, row: str | None) -> list[dict[str, Any]]:
    """The published values of the measured metrics, with paper and table."""
    found = ((key[:3], published_value(row, *key[:3])) for key in _flat(results))
    return [
        {"dataset": dataset, "task": task, "metric": metric, **asdict(published)}
        for (dataset, task, metric), published in found
        if published is not None
    ]


def _json_values(metrics: Mapping[str, float]) -> dict[str, float | None]:
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
