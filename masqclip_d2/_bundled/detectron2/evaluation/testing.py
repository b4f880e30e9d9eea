"""Results as log lines for spreadsheets, and their comparison with expected values."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

_logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log "copypaste: " lines per task: its name, the names of the metrics, their values.

    Metrics of single classes (names with "-") are omitted.
    """
    for task, metrics in results.items():
        if not isinstance(metrics, Mapping):
            _logger.info("copypaste: %s=%s", task, metrics)
            continue
        overall = {name: value for name, value in metrics.items() if "-" not in name}
        _logger.info("copypaste: Task: %s", task)
        _logger.info("copypaste: %s", ",".join(overall))
        _logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in overall.values()))


def verify_results(cfg: CfgNode, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compare results with TEST.EXPECTED_RESULTS, entries of [task, metric, value, tolerance].

    Returns:
        True if each expected metric is there, finite and close enough; else the process exits with status 1.
    """
    failures = []
    for task, metric, expected, tolerance in cfg.TEST.EXPECTED_RESULTS:
        actual = results.get(task, {}).get(metric)
        if actual is None or not math.isfinite(actual) or abs(actual - expected) > tolerance:
            failures.append(f"{task}/{metric} is {actual}; expected {expected} +- {tolerance}")
    if failures:
        _logger.error("Results differ from TEST.EXPECTED_RESULTS: %s", "; ".join(failures))
        sys.exit(1)
    if cfg.TEST.EXPECTED_RESULTS:
        _logger.info("Results match TEST.EXPECTED_RESULTS.")
    return True


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """{"bbox": {"AP": 1}} -> {"bbox/AP": 1}, to any depth."""
    flat = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}/{inner}": number for inner, number in flatten_results_dict(value).items()})
        else:
            flat[name] = value
    return flat
