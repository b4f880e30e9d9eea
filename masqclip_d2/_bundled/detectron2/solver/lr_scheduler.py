"""Learning rate schedules as multipliers over the fraction of training."""

from __future__ import annotations

import torch
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)


class WarmupParamScheduler(CompositeParamScheduler):
    """A warm-up followed by another schedule s, both over [0, 1] of the training.

    Args:
        scheduler: s, used after the warm-up.
        warmup_factor: the warm-up starts at warmup_factor * s(0).
        warmup_length: length of the warm-up as a fraction of the training.
        warmup_method: "linear" (up to s(warmup_length)) or "constant".
        rescale_interval: compress all of s into the time after the warm-up, instead of skipping its beginning.

    Raises:
        ValueError: the method is unknown.
    """

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ) -> None:
        start = warmup_factor * scheduler(0.0)
        if warmup_method == "linear":
            end = scheduler(0.0 if rescale_interval else warmup_length)
            warmup: ParamScheduler = LinearParamScheduler(start, end)
        elif warmup_method == "constant":
            warmup = ConstantParamScheduler(start)
        else:
            raise ValueError(f"Warm-up method {warmup_method!r}; expected 'linear' or 'constant'.")
        super().__init__(
            [warmup, scheduler],
            lengths=[warmup_length, 1 - warmup_length],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
        )


class LRMultiplier(torch.optim.lr_scheduler.LRScheduler):
    """lr = base lr * multiplier(iteration / max_iter), for each parameter group.

    Only `base_lrs` and `last_epoch` (the iteration) are saved; the schedule comes from the config of the run.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, multiplier: ParamScheduler, max_iter: int, last_iter: int = -1
    ) -> None:
        if not isinstance(multiplier, ParamScheduler):
            raise ValueError(f"The multiplier is a {type(multiplier).__name__}; expected fvcore's ParamScheduler.")
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict:
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list:
        multiplier = self._multiplier(self.last_epoch / self._max_iter)
        return [base_lr * multiplier for base_lr in self.base_lrs]
