"""Keeps the weights that did best at one metric of the evaluations during training: model_best.pth.

Detectron2's BestCheckpointer forgets the best value when a run is resumed, and makes the best weights those that
`--resume` goes on from; this hook does neither.
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
"""Metric, value and iteration of `WEIGHTS`; written after it."""


class BestCheckpoint(HookBase):
    """After each evaluation: if the metric is the highest so far, save the model; must come after the EvalHook.

    `WEIGHTS` holds the model's tensors, and metric, value and iteration. The value is kept beside it in `RECORD`, since
    the checkpoints that a run is resumed from are written before the evaluation of their iteration.

    Args:
        model: whose weights are saved, not wrapped for several processes.
        output_dir: the run's folder.
        metric: "task/metric", such as "panoptic_seg/PQ_novel"; of several test sets "dataset/task/metric".
    """

    def __init__(self, model: nn.Module, output_dir: str | Path, metric: str) -> None:
        self._model = model
        self._folder = Path(output_dir)
        self._metric = metric
        self._best = -math.inf
        self._seen: Any = None  # the results that were looked at last

    def before_train(self) -> None:
        path = self._folder / RECORD
        if self.trainer.start_iter == 0 or not path.is_file():  # a run from the beginning owes nothing to older files
            return
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["metric"] != self._metric:
            logger.warning(
                "%s is the best by %s; from now on it will be the best by %s.", WEIGHTS, record["metric"], self._metric
            )
            return
        self._best = record["value"]
        logger.info("The best %s so far: %.4f, after %d iterations.", self._metric, self._best, record["iteration"] + 1)

    def after_step(self) -> None:
        self._look(self.trainer.iter)

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._look(self.trainer.iter - 1)

    def _look(self, iteration: int) -> None:
        """Save the model if there are new results and they are the best.

        Raises:
            ValueError: the results have no such metric.
        """
        results = getattr(self.trainer, "_last_eval_results", None)  # set by the EvalHook's function in DefaultTrainer
        if not results or results is self._seen:
            return
        self._seen = results
        value = metric_of(results, self._metric)
        if not value > self._best:  # nan is no better than anything
            logger.info("%s: %.4f, not above the best, %.4f.", self._metric, value, self._best)
            return
        self._best = value
        facts = {"metric": self._metric, "value": value, "iteration": iteration}
        with atomic_write(self._folder / WEIGHTS) as temporary:
            torch.save({"model": self._model.state_dict(), **facts}, temporary)
        save_json(self._folder / RECORD, facts)
        logger.info(
            "%s: %.4f after %d iterations, the best so far; the weights are in %s.",
            self._metric,
            value,
            iteration + 1,
            self._folder / WEIGHTS,
        )


def metric_of(results: Mapping[str, Any], metric: str) -> float:
    """A number of nested results by its path with "/".

    Raises:
        ValueError: there is none; the message lists those there are, single categories left out.
    """
    flat = flatten_results_dict(results)
    if metric not in flat:
        known = ", ".join(name for name in flat if "-" not in name.rsplit("/", 1)[-1])
        raise ValueError(f"TEST.BEST_CHECKPOINT_METRIC is {metric!r}, but the evaluation gives: {known}.")
    return float(flat[metric])
