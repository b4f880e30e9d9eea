"""How batches travel from the workers of a data loader: in shared memory, or through a pipe where that is too small.

PyTorch puts tensors into /dev/shm. Containers often have 64 MB of it; a worker that fills it is killed (SIGBUS).
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import pickle
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from ..processes import start_worker

_SHARED_MEMORY = "/dev/shm"
_RESERVE = 1 << 24  # bytes that stay free, for other programs

logger = logging.getLogger(__name__)


def set_up_workers(loader: DataLoader) -> None:
    """Let the workers of a loader end with this process, and send batches in a way that does not fail."""
    loader.num_workers = usable_workers(loader.num_workers)
    loader.worker_init_fn = start_worker
    loader.collate_fn = sendable


def usable_workers(num_workers: int) -> int:
    """The number itself, or 0 with a warning where processes cannot share anything."""
    if not num_workers:
        return 0
    try:
        multiprocessing.Lock()
    except OSError as error:
        logger.warning("Images are loaded without workers: shared memory (%s) is unusable (%s).", _SHARED_MEMORY, error)
        return 0
    return num_workers


def sendable(batch: Any) -> Any:
    """A batch as a worker returns it: itself, or a copy by value if shared memory could run full."""
    worker = get_worker_info()
    if worker is None:
        return batch
    # All workers may send at the same time.
    if _num_bytes(batch) * (worker.num_workers + 1) + _RESERVE < _free_bytes():
        return batch
    if worker.id == 0:
        _warn_once()
    return _ByValue(batch)


class _ByValue:
    """Arrives as the object itself, with tensors of its own."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __reduce__(self) -> tuple:
        # Plain pickle copies tensors; that of torch.multiprocessing, which pickles this object, would share them.
        return pickle.loads, (pickle.dumps(self._content),)


_warned: list[bool] = []


def _warn_once() -> None:
    if not _warned:
        _warned.append(True)
        logger.warning(
            "%s is small (%d MB free): images travel through pipes, which is slower; enlarge it (docker run "
            "--shm-size 8g).",
            _SHARED_MEMORY,
            _free_bytes() / 1e6,
        )


def _free_bytes() -> float:
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except OSError:  # shared memory is elsewhere
        return math.inf
    return status.f_bavail * status.f_frsize


def _num_bytes(value: Any) -> int:
    """Bytes of all tensors in nested containers and in objects such as Instances."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(_num_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_num_bytes, value))
    return _num_bytes(vars(value)) if hasattr(value, "__dict__") else 0
