"""Parameter groups, learning rates and clipping of every stage."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from detectron2.solver import LRMultiplier
from detectron2.solver import build_lr_scheduler as build_detectron2_lr_scheduler
from detectron2.solver.build import maybe_add_gradient_clipping
from fvcore.common.param_scheduler import ParamScheduler
from torch import nn

from .muon import MuonWithAdamW

_NORM_TYPES = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LocalResponseNorm,
)
_OPTIMIZERS = {
    "ADAMW": (torch.optim.AdamW, lambda cfg: {"fused": True}),
    "SGD": (torch.optim.SGD, lambda cfg: {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV}),
    "MUON": (MuonWithAdamW, lambda cfg: {}),
}


def build_optimizer(cfg, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW, SGD or Muon over the parameters that require a gradient.

    As in Mask2Former: the proposer's backbone learns with BACKBONE_MULTIPLIER times the rate; norms and embedding
    tables have weight decays of their own (WEIGHT_DECAY_NORM, WEIGHT_DECAY_EMBED).

    Raises:
        ValueError: SOLVER.OPTIMIZER is unknown, or nothing requires a gradient.
    """
    groups = list(parameter_groups(cfg, model))
    if not groups:
        raise ValueError(f"{type(model).__name__} has nothing to train: no parameter requires a gradient.")
    name = cfg.SOLVER.OPTIMIZER
    if name not in _OPTIMIZERS:
        raise ValueError(f"SOLVER.OPTIMIZER is {name!r}; expected one of {', '.join(_OPTIMIZERS)}.")
    optimizer_class, options = _OPTIMIZERS[name]
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if clipping.ENABLED and clipping.CLIP_TYPE == "full_model":
        optimizer_class = _clipping_whole_model(optimizer_class, clipping.CLIP_VALUE)
    elif clipping.ENABLED:
        optimizer_class = maybe_add_gradient_clipping(cfg, optimizer_class)
    return optimizer_class(groups, lr=cfg.SOLVER.BASE_LR, **options(cfg))


def parameter_groups(cfg, model: nn.Module) -> Iterator[dict]:
    """One optimizer group per kind of parameter: {"params", "lr", "weight_decay"}; each parameter occurs once.

    With SOLVER.OPTIMIZER "MUON" also "muon": whether these are matrices of a transformer block ("resblocks" of CLIP).
    """
    with_muon = cfg.SOLVER.OPTIMIZER == "MUON"
    kinds: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    seen = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            lr, weight_decay = cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY
            if "backbone" in module_name.split("."):
                lr *= cfg.SOLVER.BACKBONE_MULTIPLIER
            if isinstance(module, _NORM_TYPES):
                weight_decay = cfg.SOLVER.WEIGHT_DECAY_NORM
            elif isinstance(module, nn.Embedding) or name in ("positional_embedding", "class_embedding", "level_embed"):
                weight_decay = cfg.SOLVER.WEIGHT_DECAY_EMBED
            muon = with_muon and parameter.ndim == 2 and "resblocks" in module_name.split(".")
            if muon:
                lr *= cfg.SOLVER.MUON_MULTIPLIER
            kinds.setdefault((lr, weight_decay, muon), []).append(parameter)
    for (lr, weight_decay, muon), parameters in kinds.items():
        group = {"params": parameters, "lr": lr, "weight_decay": weight_decay}
        yield {**group, "muon": muon} if with_muon else group


def build_lr_scheduler(cfg, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Detectron2's schedules, and "WarmupPolyLR" of DeepLab.

    The poly schedule is ours: it keeps no `max_iter` in its state, so that a run can be resumed with a larger one.
    """
    if cfg.SOLVER.LR_SCHEDULER_NAME != "WarmupPolyLR":
        return build_detectron2_lr_scheduler(cfg, optimizer)
    schedule = WarmupPoly(
        power=cfg.SOLVER.POLY_LR_POWER,
        warmup_length=cfg.SOLVER.WARMUP_ITERS / max(cfg.SOLVER.MAX_ITER, 1),
        warmup_factor=cfg.SOLVER.WARMUP_FACTOR,
        ending=cfg.SOLVER.POLY_LR_CONSTANT_ENDING,
    )
    return LRMultiplier(optimizer, schedule, cfg.SOLVER.MAX_ITER)


class WarmupPoly(ParamScheduler):
    """warmup(where) * (1 - where)^power, not below `ending`.

    Args:
        power: of the decay (0.9 in DeepLab).
        warmup_length: share of training, in [0, 1], over which the rate grows linearly from `warmup_factor` times.
        ending: smallest multiplier; 0 lets the rate decay to 0.
    """

    def __init__(self, power: float, warmup_length: float, warmup_factor: float, ending: float = 0.0) -> None:
        self._power, self._ending = power, ending
        self._warmup_length, self._warmup_factor = warmup_length, warmup_factor

    def __call__(self, where: float) -> float:
        warmup = 1.0
        if where < self._warmup_length:
            alpha = where / self._warmup_length
            warmup = self._warmup_factor * (1 - alpha) + alpha
        return max(warmup * math.pow(max(1.0 - where, 0.0), self._power), self._ending if warmup == 1.0 else 0.0)


def _clipping_whole_model(optimizer_class: type, max_norm: float) -> type:
    """A subclass whose `step` first clips the norm of all gradients together (CLIP_TYPE "full_model")."""

    class FullModelClipping(optimizer_class):
        def step(self, closure=None):
            parameters = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
            return super().step(closure)

    return FullModelClipping
