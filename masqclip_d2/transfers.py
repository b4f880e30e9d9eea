"""Copies between the host and a GPU.

A copy to the host waits until the GPU has finished, so that a task makes one only, at its end. A copy to the GPU need
not wait.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def is_asynchronous(device: torch.device) -> bool:
    """Whether the host runs ahead of the device, and waits for it if sizes depend on values (`tensor[mask]`)."""
    return device.type != "cpu"


def to_host(*tensors: Tensor) -> list[NDArray[Any]]:
    """The tensors as arrays of the host, in one copy for those on another device.

    Args:
        tensors: all on one device, bool, integers below 2^53, or float of at most 64 bits; small, since each becomes
            float64 on the way.
    """
    if tensors[0].device.type == "cpu":
        return [tensor.detach().numpy() for tensor in tensors]
    packed = torch.cat([tensor.detach().reshape(-1).double() for tensor in tensors]).cpu().numpy()
    pieces = np.split(packed, np.cumsum([tensor.numel() for tensor in tensors])[:-1])
    return [
        piece.reshape(tensor.shape).astype(torch.empty(0, dtype=tensor.dtype).numpy().dtype)
        for piece, tensor in zip(pieces, tensors, strict=True)
    ]


def device_constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A small tensor of numbers on a device, copied to a GPU once; not to be changed.

    Args:
        values: numbers, or tuples of them for more dimensions.
    """
    if torch.compiler.is_compiling():
        return _filled(values, dtype, device)
    if device.type == "cpu":
        return torch.tensor(values, dtype=dtype)
    constant = _copied_constant(values, dtype, device)
    for used in _recordings:
        used.append(constant)
    return constant


@contextlib.contextmanager
def used_constants() -> Iterator[list[Tensor]]:
    """In this context, yields a list of the constants that are used on GPUs; what keeps it keeps their memory."""
    used: list[Tensor] = []
    _recordings.append(used)
    try:
        yield used
    finally:
        _recordings[:] = [one for one in _recordings if one is not used]


def _filled(values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The tensor, written by the device itself: compiled code would copy a constant again in each run.

    The numbers may be symbolic, as those that depend on the size of an image while a model is exported.
    """
    if isinstance(values, tuple):
        return torch.stack([_filled(value, dtype, device) for value in values])
    return torch.full((), values, dtype=dtype, device=device)


_recordings: list[list[Tensor]] = []


@functools.lru_cache(maxsize=256)
def _copied_constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # training may use it too
        return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)
