"""Optimizers of all stages: parameter groups, learning rate schedules, gradient clipping."""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from detectron2.solver import LRMultiplier
from detectron2.solver import build_lr_scheduler as build_detectron2_lr_scheduler
from detectron2.solver.build import maybe_add_gradient_clipping
from fvcore.common.param_scheduler import ParamScheduler
from torch import nn

from .muon import MuonWithAdamW

logger = logging.getLogger(__name__)

_NORM_TYPES = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LocalResponseNorm,
)
_MATRIX_TYPES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
# Embedding tables that are bare parameters: pos_embed, absolute_pos_embed, cls_token, positional_embedding,
# level_embed, relative_position_bias_table, rel_pos_h, queries, ...
_TABLE_NAME = re.compile(r"embed|token|bias_table|rel_pos|queries|query_feat|prompt")
_OPTIMIZERS = {
    "ADAMW": (torch.optim.AdamW, lambda cfg: {"fused": True}),
    "SGD": (torch.optim.SGD, lambda cfg: {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV}),
    "MUON": (MuonWithAdamW, lambda cfg: {}),
}


def build_optimizer(cfg, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW, SGD or Muon over the parameters that require a gradient.

    The proposer's backbone has BACKBONE_MULTIPLIER times the learning rate, as in Mask2Former. WEIGHT_DECAY is for
    matrices and kernels; biases, norms and embeddings have WEIGHT_DECAY_BIAS, _NORM and _EMBED (0 by default).
    Differs from Mask2Former, which decays biases like matrices.

    Raises:
        ValueError: SOLVER.OPTIMIZER is unknown, or nothing requires a gradient.
    """
    groups = list(parameter_groups(cfg, model))
    if not groups:
        raise ValueError(
            f"{type(model).__name__} has nothing to train: no parameter requires a gradient. Evaluate it (--eval-only)."
        )
    name = cfg.SOLVER.OPTIMIZER
    if name not in _OPTIMIZERS:
        raise ValueError(f"SOLVER.OPTIMIZER is {name!r}; expected one of {', '.join(_OPTIMIZERS)}.")
    if name == "MUON" and len({group["muon"] for group in groups}) < 2:
        raise ValueError(
            f"SOLVER.OPTIMIZER is 'MUON', which trains matrices of CLIP's transformer blocks beside other parameters; "
            f"{type(model).__name__} does not train both. Set SOLVER.OPTIMIZER ADAMW."
        )
    optimizer_class: Any
    optimizer_class, options = _OPTIMIZERS[name]
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if clipping.ENABLED and clipping.CLIP_TYPE == "full_model":
        optimizer_class = _clipping_whole_model(optimizer_class, clipping.CLIP_VALUE)
    elif clipping.ENABLED:
        optimizer_class = maybe_add_gradient_clipping(cfg, optimizer_class)
    return optimizer_class(groups, lr=cfg.SOLVER.BASE_LR, **options(cfg))


def parameter_groups(cfg, model: nn.Module) -> Iterator[dict]:
    """Optimizer groups {"params", "lr", "weight_decay"}; each parameter occurs once.

    With SOLVER.OPTIMIZER "MUON" also "muon": True for matrices of CLIP's transformer blocks ("resblocks").
    """
    with_muon = cfg.SOLVER.OPTIMIZER == "MUON"
    kinds = parameter_kinds(model)
    decays = _weight_decays(cfg)
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():  # without duplicates
        if not parameter.requires_grad:
            continue
        path = name.split(".")[:-1]
        lr = cfg.SOLVER.BASE_LR * (cfg.SOLVER.BACKBONE_MULTIPLIER if "backbone" in path else 1.0)
        muon = with_muon and parameter.ndim == 2 and "resblocks" in path
        if muon:
            lr *= cfg.SOLVER.MUON_MULTIPLIER
        groups.setdefault((lr, decays[kinds[name]], muon), []).append(parameter)
    for (lr, weight_decay, muon), parameters in groups.items():
        group = {"params": parameters, "lr": lr, "weight_decay": weight_decay}
        yield {**group, "muon": muon} if with_muon else group


def parameter_kinds(model: nn.Module) -> dict[str, str]:
    """{name: "matrix", "bias", "norm" or "embedding"} of every parameter, frozen ones included.

    "norm" includes all scales: normalization layers, LayerScale, logit scales. "embedding" includes all tables:
    nn.Embedding, position tables, class tokens, and what a module lists in `no_weight_decay()`, as timm's models do.
    """
    listed = set()
    kinds = {}
    for path, module in model.named_modules():
        no_weight_decay: Callable[[], Iterable[str]] | None = getattr(module, "no_weight_decay", None)
        if no_weight_decay is not None:
            listed |= {f"{path}.{name}" if path else name for name in no_weight_decay()}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full_name = f"{path}.{name}" if path else name
            kinds[full_name] = "embedding" if full_name in listed else _kind(module, name, parameter)
    return kinds


def _kind(module: nn.Module, name: str, parameter: nn.Parameter) -> str:
    if isinstance(module, _NORM_TYPES):
        return "norm"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if isinstance(module, _MATRIX_TYPES):
        return "bias" if name == "bias" else "matrix"
    if _TABLE_NAME.search(name):
        return "embedding"
    if sum(size > 1 for size in parameter.shape) <= 1:  # a vector or a scalar, whatever its layout
        return "bias" if name.endswith("bias") else "norm"
    return "matrix"


def _weight_decays(cfg) -> dict[str, float]:
    """{kind: weight decay}; a WEIGHT_DECAY_BIAS of None is WEIGHT_DECAY, as in Detectron2."""
    solver = cfg.SOLVER
    return {
        "matrix": solver.WEIGHT_DECAY,
        "bias": solver.WEIGHT_DECAY if solver.WEIGHT_DECAY_BIAS is None else solver.WEIGHT_DECAY_BIAS,
        "norm": solver.WEIGHT_DECAY_NORM,
        "embedding": solver.WEIGHT_DECAY_EMBED,
    }


def check_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Compare an optimizer state with the parameter groups that it is going to be loaded into.

    Args:
        optimizer: of this run.
        state: `state_dict` of the optimizer of the run to be resumed.

    Raises:
        ValueError: it belongs to other parameter groups.
    """
    stored, own = (
        [len(group["params"]) for group in groups] for groups in (state["param_groups"], optimizer.param_groups)
    )
    if stored != own:
        raise ValueError(
            f"This run cannot be resumed: the optimizer state of its checkpoint has groups of {stored} parameters, the "
            f"optimizer groups of {own}. The model or the keys SOLVER.OPTIMIZER, WEIGHT_DECAY_* or BACKBONE_MULTIPLIER "
            "have changed, or the run began with version 0.1.0, which decayed biases and tables like matrices. Finish "
            "it as it began, or start a new run from its weights (MODEL.WEIGHTS, another OUTPUT_DIR, no --resume)."
        )


def build_lr_scheduler(cfg, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Detectron2's schedules, and "WarmupPolyLR" of DeepLab.

    The poly schedule is implemented here: its state has no `max_iter`, so a run can be resumed with a larger one.
    """
    solver = cfg.SOLVER
    if solver.WARMUP_ITERS >= solver.MAX_ITER > 0:
        logger.warning(
            "SOLVER.WARMUP_ITERS is %d, but SOLVER.MAX_ITER %d: the learning rate never reaches SOLVER.BASE_LR; set "
            "SOLVER.WARMUP_ITERS lower.",
            solver.WARMUP_ITERS,
            solver.MAX_ITER,
        )
    if solver.LR_SCHEDULER_NAME != "WarmupPolyLR":
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
        power: exponent of the decay (0.9 in DeepLab).
        warmup_length: share of training, in [0, 1], in which the rate grows linearly.
        warmup_factor: multiplier at the start of the warm-up.
        ending: smallest multiplier after the warm-up.
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
    """A subclass whose `step` first clips the joint norm of all gradients (CLIP_TYPE "full_model")."""

    class FullModelClipping(optimizer_class):
        def step(self, closure=None):
            parameters = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
            return super().step(closure)

    return FullModelClipping
