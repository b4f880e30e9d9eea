"""Base classes of evaluators, and the inference loop over a test set."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.utils import comm
from detectron2.utils.logger import log_every_n_seconds
from torch import nn

_logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOGS = 5
_NUM_WARMUP = 5  # first batches, which are slower and not timed


class DatasetEvaluator:
    """Base class of evaluators: `reset`, `process` each batch, then `evaluate`."""

    def reset(self) -> None:
        """Remove all collected predictions."""

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Process one batch of the model's inputs and outputs."""

    def evaluate(self) -> dict | None:
        """Return task -> metric -> value; None or empty on ranks other than 0."""


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators as one; their results are merged and must not share a task."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        self._evaluators = evaluators

    def reset(self) -> None:
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict:
        merged = {}
        for evaluator in self._evaluators:
            results = evaluator.evaluate()
            if comm.is_main_process() and results is not None:
                for task, metrics in results.items():
                    assert task not in merged, f"Two evaluators return results for {task!r}."
                    merged[task] = metrics
        return merged


def inference_on_dataset(
    model: nn.Module | Callable[[list[dict]], list[dict]],
    data_loader: Any,
    evaluator: DatasetEvaluator | Sequence[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], None]] | None = None,
) -> dict:
    """Run a model over a data loader, in eval mode and without gradients; its mode is restored.

    Args:
        data_loader: iterable of the model's inputs, with a length.
        evaluator: one, several, or None to run the model only.
        callbacks: functions called at "on_start", "before_inference" and "after_inference" of each batch, and "on_end".

    Returns:
        The result of `evaluator.evaluate`; {} instead of None.
    """
    if evaluator is None:
        evaluator = DatasetEvaluators([])
    elif not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator)
    callbacks = callbacks or {}
    total = len(data_loader)
    _logger.info("Start inference on %d batches", total)
    evaluator.reset()
    start, first_timed = time.perf_counter(), 0
    with _eval_mode(model), torch.no_grad():
        callbacks.get("on_start", _nothing)()
        for index, inputs in enumerate(data_loader):
            if index == min(_NUM_WARMUP, total - 1):
                start, first_timed = time.perf_counter(), index
            callbacks.get("before_inference", _nothing)()
            outputs = model(inputs)
            callbacks.get("after_inference", _nothing)()
            evaluator.process(inputs, outputs)
            if index > _NUM_WARMUP:
                seconds = (time.perf_counter() - start) / (index + 1 - first_timed)
                eta = datetime.timedelta(seconds=int(seconds * (total - index - 1)))
                log_every_n_seconds(
                    logging.INFO,
                    f"Inference done {index + 1}/{total}. {seconds:.4f} s/iter. ETA={eta}",
                    n=_SECONDS_BETWEEN_LOGS,
                )
        callbacks.get("on_end", _nothing)()
    results = evaluator.evaluate()
    return {} if results is None else results


def _nothing() -> None:
    pass


@contextmanager
def _eval_mode(model: object) -> Iterator[None]:
    if not isinstance(model, nn.Module):
        yield
        return
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
