"""Save the weights with the highest value of a metric during training as model_best.pth.

Differs from Detectron2's BestCheckpointer: a resumed run keeps the best value, and `--resume` continues from the last
weights, not from the best ones.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from torch import nn

from ..files import atomic_write, save_json

logger = logging.getLogger(__name__)

WEIGHTS = "model_best.pth"
RECORD = "best_checkpoint.json"
"""Metric, value and iteration of `WEIGHTS`."""


class BestCheckpoint(HookBase):
    """After each evaluation, save the model if the metric is the highest so far. Must come after the EvalHook.

    `WEIGHTS` holds state dict, metric, value and iteration. `RECORD` holds the value for resumed runs: a
    checkpoint is written before the evaluation of its iteration.

    Args:
        model: the model to save, not wrapped for several processes.
        output_dir: OUTPUT_DIR of the run.
        metric: "task/metric", such as "panoptic_seg/PQ_novel"; with several test sets "dataset/task/metric".
    """

    def __init__(self, model: nn.Module, output_dir: str | Path, metric: str) -> None:
        self._model = model
        self._folder = Path(output_dir)
        self._metric = metric
        self._best = -math.inf
        self._compared: Any = None  # the last results that were compared

    def before_train(self) -> None:
        path = self._folder / RECORD
        if self.trainer.start_iter == 0 or not path.is_file():  # a fresh run ignores an older record
            return
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["metric"] != self._metric:
            logger.warning(
                "%s is the best by %s; from now on the best by %s is saved.", WEIGHTS, record["metric"], self._metric
            )
            return
        self._best = record["value"]
        logger.info("The best %s so far: %.4f, after %d iterations.", self._metric, self._best, record["iteration"] + 1)

    def after_step(self) -> None:
        self._compare(self.trainer.iter)

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._compare(self.trainer.iter - 1)

    def _compare(self, iteration: int) -> None:
        """Save the model if there are new results with the highest value.

        Raises:
            ValueError: the results lack the metric.
        """
        results = getattr(self.trainer, "_last_eval_results", None)  # set by the EvalHook's function in DefaultTrainer
        if not results or results is self._compared:
            return
        self._compared = results
        value = metric_of(results, self._metric)
        if not value > self._best:  # also if the value is nan
            logger.info("%s: %.4f, not above the best, %.4f.", self._metric, value, self._best)
            return
        self._best = value
        record = {"metric": self._metric, "value": value, "iteration": iteration}
        with atomic_write(self._folder / WEIGHTS) as temporary:
            torch.save({"model": self._model.state_dict(), **record}, temporary)
        save_json(self._folder / RECORD, record)
        logger.info(
            "%s: %.4f after %d iterations, the best so far; the weights are in %s.",
            self._metric,
            value,
            iteration + 1,
            self._folder / WEIGHTS,
        )


def metric_of(results: Mapping[str, Any], metric: str) -> float:
    """Value of a metric in nested results, by its path with "/".

    Raises:
        ValueError: unknown metric; the message lists the known ones except those of single categories.
    """
    flat = flatten_results_dict(results)
    if metric not in flat:
        known = ", ".join(name for name in flat if "-" not in name.rsplit("/", 1)[-1])
        raise ValueError(f"TEST.BEST_CHECKPOINT_METRIC is {metric!r}, but the evaluation has: {known}.")
    return float(flat[metric])
