"""Save the weights with the highest value of a metric during training as model_best.pth.

Differs from Detectron2's BestCheckpointer: a resumed run keeps the best value, and `--resume` continues from the last
weights, not from the best ones.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from torch import nn

from ..files import atomic_write, save_json

logger = logging.getLogger(__name__)

WEIGHTS = "model_best.pth"
RECORD = "best_checkpoint.json"
"""Metric, value and iteration of `WEIGHTS`, and the iteration of the last comparison."""


class BestCheckpoint(HookBase):
    """After each evaluation, save the model if the metric is the highest so far. Must come after the EvalHook.

    `WEIGHTS` holds state dict, metric, value and iteration. `RECORD` holds the value for resumed runs: a
    checkpoint is written before the evaluation of its iteration. If a run is killed between the two, the resumed run
    first repeats the evaluation.

    Args:
        model: the model to save, not wrapped for several processes.
        output_dir: OUTPUT_DIR of the run.
        metric: "task/metric", such as "panoptic_seg/PQ_novel"; with several test sets "dataset/task/metric".
        eval_period: iterations between evaluations; 0: only after training.
        evaluate: as the EvalHook calls it; sets `_last_eval_results` of the trainer.
    """

    def __init__(
        self,
        model: nn.Module,
        output_dir: str | Path,
        metric: str,
        eval_period: int = 0,
        evaluate: Callable[[], object] | None = None,
    ) -> None:
        self._model = model
        self._folder = Path(output_dir)
        self._metric = metric
        self._eval_period = eval_period
        self._evaluate = evaluate
        self._record: dict[str, Any] = {"metric": metric, "value": -math.inf, "iteration": -1, "compared": -1}
        self._compared: Any = None  # the last results that were compared

    def before_train(self) -> None:
        if self.trainer.start_iter == 0:  # a fresh run ignores an older record
            return
        if comm.is_main_process():
            self._read_record()
        if comm.all_gather(self._is_evaluation_lost())[0] and self._evaluate is not None:
            logger.info("The run was interrupted before the evaluation of its last checkpoint, which follows.")
            self._evaluate()
            self._compare(self.trainer.start_iter - 1)

    def after_step(self) -> None:
        self._compare(self.trainer.iter)

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._compare(self.trainer.iter - 1)
        self._evaluate = None  # it refers to the trainer, which refers to this hook

    def _read_record(self) -> None:
        path = self._folder / RECORD
        if not path.is_file():
            return
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["metric"] != self._metric:
            logger.warning(
                "%s is the best by %s; from now on the best by %s is saved.", WEIGHTS, record["metric"], self._metric
            )
            self._record["compared"] = self.trainer.start_iter - 1
            return
        self._record = {"compared": record["iteration"], **record}
        logger.info(
            "The best %s so far: %.4f, after %d iterations.", self._metric, record["value"], record["iteration"] + 1
        )

    def _is_evaluation_lost(self) -> bool:
        """Whether the iteration before the first one should have been evaluated and was not."""
        start = self.trainer.start_iter
        due = self._eval_period > 0 and start % self._eval_period == 0 and start < self.trainer.max_iter
        return due and self._record["compared"] < start - 1

    def _compare(self, iteration: int) -> None:
        """Save the model if there are new results with the highest value.

        Raises:
            ValueError: the results lack the metric.
        """
        results = getattr(self.trainer, "_last_eval_results", None)  # set by the EvalHook's function in DefaultTrainer
        if not results or results is self._compared:
            return
        self._compared = results
        if not comm.is_main_process():
            return
        value, best = metric_of(results, self._metric), self._record["value"]
        self._record["compared"] = iteration
        if value > best:  # not if the value is nan
            self._record |= {"value": value, "iteration": iteration}
            with atomic_write(self._folder / WEIGHTS) as temporary:
                kept = {key: self._record[key] for key in ("metric", "value", "iteration")}
                torch.save({"model": self._model.state_dict(), **kept}, temporary)
            logger.info(
                "%s: %.4f after %d iterations, the best so far; the weights are in %s.",
                self._metric,
                value,
                iteration + 1,
                self._folder / WEIGHTS,
            )
        else:
            logger.info("%s: %.4f, not above the best, %.4f.", self._metric, value, best)
        if self._record["iteration"] >= 0:
            save_json(self._folder / RECORD, self._record)


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
