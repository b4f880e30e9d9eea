"""Optimizer and learning rate schedule of a config."""

from .build import build_lr_scheduler, build_optimizer
from .lr_scheduler import LRMultiplier, WarmupParamScheduler

__all__ = ["LRMultiplier", "WarmupParamScheduler", "build_lr_scheduler", "build_optimizer"]
