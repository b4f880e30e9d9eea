"""Applies half precision, compilation and CUDA graphs to the networks of a model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..precision import inference_dtype
from .cuda_graphs import GraphedForward

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Acceleration:
    """How to run the networks of a model in inference.

    Args:
        dtype: "fp32", "bf16" or "fp16" (autocast), see `inference_dtype`; class scores and fusion stay in float32.
        compile: `torch.compile`; the first image, and the first of another size, take a minute or more.
        cuda_graphs: see `GraphedForward`; on GPUs only.
    """

    dtype: str = "fp32"
    compile: bool = False
    cuda_graphs: bool = False

    @classmethod
    def from_config(cls, cfg) -> Acceleration:
        """The keys MODEL.MASQCLIP.TEST.DTYPE, COMPILE and CUDA_GRAPHS."""
        test = cfg.MODEL.MASQCLIP.TEST
        return cls(test.DTYPE, test.COMPILE, test.CUDA_GRAPHS)


def accelerate(model: nn.Module, how: Acceleration) -> None:
    """Run the networks of a model faster from now on.

    Args:
        model: any; what its modules do not support has no effect, which a line in the log says.
        how: see `Acceleration`.

    Raises:
        ValueError: the dtype is unknown.
    """
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    dtype = inference_dtype(how.dtype, device)
    followers = _set_dtype(model, dtype)
    if dtype != torch.float32 and not followers:
        logger.warning("dtype %s has no effect on %s.", how.dtype, type(model).__name__)
    networks = _networks(model) if how.compile or how.cuda_graphs else []
    if not networks and (how.compile or how.cuda_graphs):
        logger.warning("Nothing of %s can be compiled or recorded.", type(model).__name__)
    use_graphs = how.cuda_graphs and device.type != "cpu"
    if how.cuda_graphs and not use_graphs:
        logger.warning("CUDA graphs have no effect: the model runs on the device %s.", device.type)
    module: Any
    for module in model.modules() if networks else ():
        if hasattr(module, "prepare_inference"):  # what it computes then is a constant of the compiled networks
            module.prepare_inference()
    for module in networks:
        if how.compile:
            module.forward = torch.compile(module.forward)
        if use_graphs:
            module.forward = GraphedForward(module.forward)


@contextlib.contextmanager
def accelerated(model: nn.Module, how: Acceleration) -> Iterator[None]:
    """`accelerate` in this context instead of what was applied before it; afterwards the model is as before."""
    dtypes = {module: module.inference_dtype for module in model.modules() if hasattr(module, "inference_dtype")}
    following = {module: module.follows_autocast for module in model.modules() if hasattr(module, "follows_autocast")}
    forwards = [(module, vars(module).pop("forward", None)) for module in _networks(model)]
    try:
        accelerate(model, how)
        yield
    finally:
        module: Any
        for module, dtype in dtypes.items():
            module.inference_dtype = dtype
        for module, follows in following.items():
            module.follows_autocast = follows
        for module, forward in forwards:
            vars(module).pop("forward", None)
            if forward is not None:
                module.forward = forward


def _set_dtype(model: nn.Module, dtype: torch.dtype) -> int:
    """Set the dtype of the networks; returns how many modules take it.

    These are modules with an attribute `inference_dtype`, which call networks under autocast, and those with an
    attribute `follows_autocast`, which compute in float32 under autocast for the sake of training, such as
    Mask2Former's pixel decoder.
    """
    followers = 0
    module: Any
    for module in model.modules():
        if hasattr(module, "inference_dtype"):
            module.inference_dtype = dtype
            followers += 1
        if hasattr(module, "follows_autocast"):
            module.follows_autocast = dtype != torch.float32
    return followers


def _networks(model: nn.Module) -> list[nn.Module]:
    """The modules named by `network_names` of the model's modules."""
    return [getattr(module, name) for module in model.modules() for name in getattr(module, "network_names", ())]
