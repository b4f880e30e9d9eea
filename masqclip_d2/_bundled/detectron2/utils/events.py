"""Metrics of a training run: an `EventStorage` collects them, writers write them to files and the log."""

from __future__ import annotations

import datetime
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from fvcore.common.history_buffer import HistoryBuffer

from .file_io import PathManager

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
]

_storages: list[EventStorage] = []


def has_event_storage() -> bool:
    """Whether an `EventStorage` is active."""
    return bool(_storages)


def get_event_storage() -> EventStorage:
    """Return the innermost active `EventStorage`."""
    assert _storages, "There is no active event storage; call this inside `with EventStorage():`, as trainers do."
    return _storages[-1]


class EventStorage:
    """Scalars with their history, and images, by name; each belongs to an iteration.

    Args:
        start_iter: the first value of `iter`.
    """

    def __init__(self, start_iter: int = 0) -> None:
        self.iter = start_iter
        self._histories: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._smoothing_hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._images: list[tuple[str, torch.Tensor | np.ndarray, int]] = []
        self._prefix = ""

    def put_scalar(self, name: str, value: float, smoothing_hint: bool = True, cur_iter: int | None = None) -> None:
        """Add one value.

        Args:
            smoothing_hint: whether writers may write a median over time; the same for all values of a name.
            cur_iter: iteration of the value; None = `self.iter`.
        """
        name = self._prefix + name
        hint = self._smoothing_hints.setdefault(name, smoothing_hint)
        assert hint == smoothing_hint, f"Scalar {name!r} has smoothing_hint={hint}; it cannot change."
        iteration = self.iter if cur_iter is None else cur_iter
        value = float(value)
        self._histories[name].update(value, iteration)
        self._latest[name] = (value, iteration)

    def put_scalars(self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **scalars: float) -> None:
        """Add several values by name."""
        for name, value in scalars.items():
            self.put_scalar(name, value, smoothing_hint, cur_iter)

    def put_image(self, img_name: str, img_tensor: torch.Tensor | np.ndarray) -> None:
        """Add a (3, H, W) RGB image, uint8 or float in [0, 1], for TensorBoard."""
        self._images.append((self._prefix + img_name, img_tensor, self.iter))

    def _take_images(self) -> list[tuple[str, torch.Tensor | np.ndarray, int]]:
        """Return and remove the collected (name, image, iteration)."""
        images, self._images = self._images, []
        return images

    def history(self, name: str) -> HistoryBuffer:
        """All values of one scalar; KeyError if there are none."""
        if name not in self._histories:
            raise KeyError(f"There is no scalar {name!r}; known: {', '.join(self._histories)}.")
        return self._histories[name]

    def histories(self) -> dict[str, HistoryBuffer]:
        """All values of all scalars."""
        return self._histories

    def latest(self) -> dict[str, tuple[float, int]]:
        """Name -> (last value, its iteration)."""
        return self._latest

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Like `latest`, with the median of the last `window_size` values for smoothed scalars."""
        return {
            name: (self._histories[name].median(window_size) if self._smoothing_hints[name] else value, iteration)
            for name, (value, iteration) in self._latest.items()
        }

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Prefix names in the `with` block by `name` and a slash."""
        previous, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = previous

    def step(self) -> None:
        """Advance to the next iteration."""
        self.iter += 1

    def __enter__(self) -> EventStorage:
        _storages.append(self)
        return self

    def __exit__(self, *exc_info) -> None:
        assert _storages[-1] is self, "Event storages must be exited in reverse order."
        _storages.pop()


class EventWriter:
    """Base class of writers; `write` writes the new values of the current `EventStorage`."""

    def write(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Called once, after the last `write`."""


class JSONWriter(EventWriter):
    """Appends one JSON object per line and iteration, keys sorted: {"iteration": ..., scalar: value, ...}."""

    def __init__(self, json_file: str, window_size: int = 20) -> None:
        self._file = PathManager.open(json_file, "a")
        self._window_size = window_size
        self._last_iter = -1

    def write(self) -> None:
        lines: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(self._window_size).items():
            if iteration > self._last_iter:
                lines[iteration][name] = value
        for iteration in sorted(lines):
            self._file.write(json.dumps({**lines[iteration], "iteration": iteration}, sort_keys=True) + "\n")
            self._last_iter = iteration
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorboardXWriter(EventWriter):
    """Writes scalars and images as TensorBoard events to a folder, which the first write creates."""

    def __init__(self, log_dir: str, window_size: int = 20) -> None:
        self._log_dir = log_dir
        self._window_size = window_size
        self._last_iter = -1
        self._summary_writer: Any = None

    def write(self) -> None:
        if self._summary_writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._summary_writer = SummaryWriter(self._log_dir)
        storage = get_event_storage()
        newest = self._last_iter
        for name, (value, iteration) in storage.latest_with_smoothing_hint(self._window_size).items():
            if iteration > self._last_iter:
                self._summary_writer.add_scalar(name, value, iteration)
                newest = max(newest, iteration)
        self._last_iter = newest
        for name, image, iteration in storage._take_images():
            self._summary_writer.add_image(name, image, iteration)

    def close(self) -> None:
        if self._summary_writer is not None:
            self._summary_writer.close()


class CommonMetricPrinter(EventWriter):
    """Logs iteration, losses, times, learning rate and memory in one line; puts the scalar `eta_seconds`.

    Args:
        max_iter: the last iteration + 1; None = no estimate of the remaining time.
    """

    # Window, in iterations, of the median time for the estimate of the remaining time.
    _ETA_WINDOW = 1000

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        self._logger = logging.getLogger("detectron2.utils.events")
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_write: tuple[int, float] | None = None  # iteration, seconds

    def write(self) -> None:
        storage = get_event_storage()
        if storage.iter == self._max_iter:  # the final write after training
            return
        latest = storage.latest_with_smoothing_hint(self._window_size)
        eta_seconds = self._eta_seconds(storage)
        parts = [f"iter: {storage.iter}"]
        if eta_seconds is not None:
            parts.insert(0, f"eta: {datetime.timedelta(seconds=int(eta_seconds))}")
        parts += [f"{name}: {value:.4g}" for name, (value, _) in latest.items() if "loss" in name]
        parts += [f"{name}: {latest[name][0]:.4f}" for name in ("time", "data_time") if name in latest]
        if "lr" in latest:
            parts.append(f"lr: {latest['lr'][0]:.5g}")
        if torch.cuda.is_available():
            parts.append(f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M")
        self._logger.info("  ".join(parts))

    def _eta_seconds(self, storage: EventStorage) -> float | None:
        if self._max_iter is None:
            return None
        iterations_left = self._max_iter - storage.iter - 1
        if "time" in storage.histories():
            eta = storage.history("time").median(self._ETA_WINDOW) * iterations_left
            storage.put_scalar("eta_seconds", eta, smoothing_hint=False)
            return eta
        # The first iterations have no time from IterationTimer: use the time since the last call.
        previous, self._last_write = self._last_write, (storage.iter, time.perf_counter())
        if previous is None or previous[0] == storage.iter:
            return None
        return (self._last_write[1] - previous[1]) / (storage.iter - previous[0]) * iterations_left
