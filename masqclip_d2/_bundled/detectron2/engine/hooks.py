"""The standard hooks of a training run."""

from __future__ import annotations

import datetime
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from fvcore.common.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer
from fvcore.common.timer import Timer

from .train_loop import HookBase, TrainerBase

__all__ = [
    "CallbackHook",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
]

_logger = logging.getLogger(__name__)


class CallbackHook(HookBase):
    """A hook from functions that take the trainer."""

    def __init__(
        self,
        *,
        before_train: Callable[[TrainerBase], None] | None = None,
        after_train: Callable[[TrainerBase], None] | None = None,
        before_step: Callable[[TrainerBase], None] | None = None,
        after_step: Callable[[TrainerBase], None] | None = None,
    ) -> None:
        self._before_train = before_train
        self._after_train = after_train
        self._before_step = before_step
        self._after_step = after_step

    def before_train(self) -> None:
        if self._before_train:
            self._before_train(self.trainer)

    def after_train(self) -> None:
        if self._after_train:
            self._after_train(self.trainer)
        # Functions often refer to the trainer, which refers to this hook: break the cycle.
        self._before_train = self._after_train = self._before_step = self._after_step = None

    def before_step(self) -> None:
        if self._before_step:
            self._before_step(self.trainer)

    def after_step(self) -> None:
        if self._after_step:
            self._after_step(self.trainer)


class IterationTimer(HookBase):
    """Puts the scalar "time" (seconds of an iteration, without the hooks after this one) and logs the totals.

    Args:
        warmup_iter: number of first iterations, which are slower, that are not counted.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        self._warmup_iter = warmup_iter
        self._step_timer = Timer()
        self._start_seconds = time.perf_counter()
        self._in_steps = Timer()  # paused between iterations, so hooks are not counted

    def before_train(self) -> None:
        self._start_seconds = time.perf_counter()
        self._in_steps.reset()
        self._in_steps.pause()

    def before_step(self) -> None:
        self._step_timer.reset()
        self._in_steps.resume()

    def after_step(self) -> None:
        num_done = self.trainer.iter - self.trainer.start_iter + 1
        if num_done >= self._warmup_iter:
            self.trainer.storage.put_scalars(time=self._step_timer.seconds())
            self._in_steps.pause()
        else:
            self._start_seconds = time.perf_counter()
            self._in_steps.reset()
            self._in_steps.pause()

    def after_train(self) -> None:
        num_counted = self.trainer.iter - self.trainer.start_iter - self._warmup_iter + 1
        if num_counted <= 0:
            return
        total = time.perf_counter() - self._start_seconds
        in_steps = self._in_steps.seconds()
        _logger.info(
            "%d iterations in %s (%.4f s / it); %s more in hooks.",
            num_counted,
            datetime.timedelta(seconds=int(in_steps)),
            in_steps / num_counted,
            datetime.timedelta(seconds=int(total - in_steps)),
        )


class PeriodicWriter(HookBase):
    """Calls `write` of each writer every `period` iterations and at the end, then `close`."""

    def __init__(self, writers: Sequence[EventWriter], period: int = 20) -> None:
        self._writers = writers
        self._period = period

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self._period == 0 or self.trainer.iter == self.trainer.max_iter - 1:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        for writer in self._writers:
            # Scalars that other hooks added after the last step, such as the final evaluation.
            writer.write()
            writer.close()


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """fvcore's PeriodicCheckpointer as a hook.

    Saves model_<7-digit iteration>.pth every `period` iterations and model_final.pth at the end.
    """

    def before_train(self) -> None:
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        self.step(self.trainer.iter)


class LRScheduler(HookBase):
    """Puts the scalar "lr" of the most typical parameter group, then steps the scheduler; saves the scheduler's state.

    Args:
        optimizer, scheduler: those of the trainer if None.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler

    @property
    def scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        return self._scheduler or self.trainer.scheduler

    def before_train(self) -> None:
        optimizer = self._optimizer or self.trainer.optimizer
        self._optimizer, self._group_id = optimizer, _typical_group_id(optimizer)

    def after_step(self) -> None:
        assert self._optimizer is not None, "before_train was not called."
        lr = self._optimizer.param_groups[self._group_id]["lr"]
        self.trainer.storage.put_scalar("lr", lr, smoothing_hint=False)
        self.scheduler.step()

    def state_dict(self) -> dict:
        return self.scheduler.state_dict()

    def load_state_dict(self, state_dict: dict) -> None:
        self.scheduler.load_state_dict(state_dict)


def _typical_group_id(optimizer: torch.optim.Optimizer) -> int:
    """The largest parameter group; if each parameter has its own, the first with the most frequent learning rate."""
    groups = optimizer.param_groups
    sizes = [len(group["params"]) for group in groups]
    if max(sizes) > 1:
        return sizes.index(max(sizes))
    most_frequent_lr = Counter(group["lr"] for group in groups).most_common(1)[0][0]
    return next(index for index, group in enumerate(groups) if group["lr"] == most_frequent_lr)


class EvalHook(HookBase):
    """Evaluates every `eval_period` iterations and after training; the metrics go to the event storage.

    Args:
        eval_period: 0 = only after training.
        eval_function: function without arguments that returns a (nested) dict of metrics; keys are joined with "/".
        eval_after_train: also evaluate after the last iteration, unless training failed.
    """

    def __init__(self, eval_period: int, eval_function: Callable[[], dict], eval_after_train: bool = True) -> None:
        self._period = eval_period
        self._function = eval_function
        self._eval_after_train = eval_after_train

    def after_step(self) -> None:
        num_done = self.trainer.iter + 1
        # after_train evaluates after the last iteration.
        if self._period > 0 and num_done % self._period == 0 and num_done != self.trainer.max_iter:
            self._evaluate()

    def after_train(self) -> None:
        if self._eval_after_train and self.trainer.iter >= self.trainer.max_iter:
            self._evaluate()
        # The function usually refers to the trainer, which refers to this hook.
        del self._function

    def _evaluate(self) -> None:
        results = self._function()
        if results:
            assert isinstance(results, dict), f"The evaluation returned a {type(results).__name__}; expected a dict."
            scalars = flatten_results_dict(results)
            for name, value in scalars.items():
                try:
                    scalars[name] = float(value)
                except (TypeError, ValueError) as error:
                    raise ValueError(f"Metrics must be numbers; {name!r} is {value!r}.") from error
            self.trainer.storage.put_scalars(**scalars, smoothing_hint=False)
        # Only rank 0 computes metrics; the others wait here, not in their next collective call.
        comm.synchronize()
