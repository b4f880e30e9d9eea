"""Building the optimizer and the learning rate schedule from a config."""

from __future__ import annotations

import logging
from typing import Any

import torch
from detectron2.config import CfgNode
from fvcore.common.param_scheduler import CosineParamScheduler, MultiStepParamScheduler
from torch import nn

from .lr_scheduler import LRMultiplier, WarmupParamScheduler

_logger = logging.getLogger(__name__)

_NORM_TYPES = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SGD with separate weight decay for norm layers and separate learning rate and weight decay for biases.

    Parameters with equal settings share one group, in the order of their first appearance.
    """
    options = cfg.SOLVER
    bias_decay = options.WEIGHT_DECAY if options.WEIGHT_DECAY_BIAS is None else options.WEIGHT_DECAY_BIAS
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            lr, weight_decay = options.BASE_LR, options.WEIGHT_DECAY
            if isinstance(module, _NORM_TYPES):
                weight_decay = options.WEIGHT_DECAY_NORM
            elif name == "bias":
                lr, weight_decay = options.BASE_LR * options.BIAS_LR_FACTOR, bias_decay
            groups.setdefault((lr, weight_decay), []).append(parameter)
    optimizer_type: Any = maybe_add_gradient_clipping(cfg, torch.optim.SGD)
    return optimizer_type(
        [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()],
        lr=options.BASE_LR,
        momentum=options.MOMENTUM,
        nesterov=options.NESTEROV,
        weight_decay=options.WEIGHT_DECAY,
    )


def maybe_add_gradient_clipping(
    cfg: CfgNode, optimizer: torch.optim.Optimizer | type[torch.optim.Optimizer]
) -> torch.optim.Optimizer | type[torch.optim.Optimizer]:
    """Make an optimizer, or a class of optimizers, clip each parameter's gradient before `step`.

    No effect unless `SOLVER.CLIP_GRADIENTS.ENABLED`. CLIP_TYPE "value" clamps each element to +- CLIP_VALUE, "norm"
    scales each parameter's gradient to a norm of at most CLIP_VALUE.

    Returns:
        A subclass for a class; the same optimizer, with its class changed, for an instance.

    Raises:
        ValueError: another CLIP_TYPE.
    """
    options = cfg.SOLVER.CLIP_GRADIENTS
    if not options.ENABLED:
        return optimizer
    if options.CLIP_TYPE not in ("value", "norm"):
        raise ValueError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {options.CLIP_TYPE!r}; expected 'value' or 'norm'.")
    clip_type, clip_value, norm_type = options.CLIP_TYPE, options.CLIP_VALUE, options.NORM_TYPE
    base = optimizer if isinstance(optimizer, type) else type(optimizer)

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if clip_type == "value":
                    nn.utils.clip_grad_value_(parameter, clip_value)
                else:
                    nn.utils.clip_grad_norm_(parameter, clip_value, norm_type)
        return base.step(self, closure)

    clipping = type(f"{base.__name__}WithGradientClip", (base,), {"step": step})
    if isinstance(optimizer, type):
        return clipping
    optimizer.__class__ = clipping
    return optimizer


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRMultiplier:
    """Build `SOLVER.LR_SCHEDULER_NAME`: "WarmupMultiStepLR" or "WarmupCosineLR".

    Raises:
        ValueError: another name, or BASE_LR_END above BASE_LR.
    """
    options = cfg.SOLVER
    if options.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        steps = [step for step in options.STEPS if step <= options.MAX_ITER]
        if len(steps) < len(options.STEPS):
            _logger.warning("SOLVER.STEPS after MAX_ITER (%d) are ignored; used: %s.", options.MAX_ITER, steps)
        multiplier = MultiStepParamScheduler(
            values=[options.GAMMA**k for k in range(len(steps) + 1)], milestones=steps, num_updates=options.MAX_ITER
        )
    elif options.LR_SCHEDULER_NAME == "WarmupCosineLR":
        end = options.BASE_LR_END / options.BASE_LR
        if not 0.0 <= end <= 1.0:
            raise ValueError(f"SOLVER.BASE_LR_END is {options.BASE_LR_END}; expected 0 to BASE_LR ({options.BASE_LR}).")
        multiplier = CosineParamScheduler(1, end)
    else:
        raise ValueError(
            f"SOLVER.LR_SCHEDULER_NAME is {options.LR_SCHEDULER_NAME!r}; expected 'WarmupMultiStepLR', "
            "'WarmupCosineLR', or 'WarmupPolyLR' through detectron2.projects.deeplab."
        )
    warmed_up = WarmupParamScheduler(
        multiplier,
        options.WARMUP_FACTOR,
        min(options.WARMUP_ITERS / options.MAX_ITER, 1.0),
        options.WARMUP_METHOD,
        options.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, warmed_up, max_iter=options.MAX_ITER)
