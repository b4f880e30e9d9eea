"""Handling of insufficient GPU memory."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def _ignore_cuda_oom():
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if not isinstance(error, torch.OutOfMemoryError) and "CUDA out of memory. " not in str(error):
            raise


def _to_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, torch.Tensor) and value.is_cuda else value


def retry_if_cuda_oom(func: Callable) -> Callable:
    """Wrap a function of tensors so that it is retried when GPU memory is insufficient.

    The retries are with an empty cache, then with CUDA tensors among the direct arguments moved to the CPU, where the
    result then is. The function may run three times, so it must have no side effects.
    """

    @functools.wraps(func)
    def wrapped(*args, **kwargs):
        with _ignore_cuda_oom():
            return func(*args, **kwargs)
        torch.cuda.empty_cache()
        with _ignore_cuda_oom():
            return func(*args, **kwargs)
        logging.getLogger(__name__).warning("Out of GPU memory in %s; running it on the CPU.", func)
        return func(*map(_to_cpu, args), **{name: _to_cpu(value) for name, value in kwargs.items()})

    return wrapped
