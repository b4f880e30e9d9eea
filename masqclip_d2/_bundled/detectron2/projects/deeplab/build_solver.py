"""The polynomial learning rate with warm-up."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier
from detectron2.solver import build_lr_scheduler as build_standard_lr_scheduler
from fvcore.common.param_scheduler import ParamScheduler


class _WarmupPoly(ParamScheduler):
    """Multiplier of the learning rate at `where` = iteration / max_iter: warm-up times (1 - where) ** power."""

    def __init__(
        self, power: float, constant_ending: float, warmup_factor: float, warmup_length: float, warmup_method: str
    ) -> None:
        if warmup_method not in ("linear", "constant"):
            raise ValueError(f"SOLVER.WARMUP_METHOD is {warmup_method!r}; expected 'linear' or 'constant'.")
        self.power = power
        self.constant_ending = constant_ending
        self.warmup_factor = warmup_factor
        self.warmup_length = warmup_length
        self.is_linear = warmup_method == "linear"

    def __call__(self, where: float) -> float:
        # Past the end (a run resumed with fewer iterations) the base of the power would be negative: clamp.
        decay = max(0.0, 1.0 - where) ** self.power
        if where >= self.warmup_length:
            return max(decay, self.constant_ending)
        share = where / self.warmup_length if self.is_linear else 0.0
        return decay * (self.warmup_factor * (1.0 - share) + share)


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Build "WarmupPolyLR"; hand any other `SOLVER.LR_SCHEDULER_NAME` to `detectron2.solver.build_lr_scheduler`.

    The state of the scheduler does not hold the number of iterations, so a run can resume with another MAX_ITER.
    """
    if cfg.SOLVER.LR_SCHEDULER_NAME != "WarmupPolyLR":
        return build_standard_lr_scheduler(cfg, optimizer)
    multiplier = _WarmupPoly(
        cfg.SOLVER.POLY_LR_POWER,
        cfg.SOLVER.POLY_LR_CONSTANT_ENDING,
        cfg.SOLVER.WARMUP_FACTOR,
        cfg.SOLVER.WARMUP_ITERS / cfg.SOLVER.MAX_ITER,
        cfg.SOLVER.WARMUP_METHOD,
    )
    return LRMultiplier(optimizer, multiplier, max_iter=cfg.SOLVER.MAX_ITER)
