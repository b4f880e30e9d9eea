"""Console output of a run: no dumps of configuration, environment and model, and short training lines.

Everything that is omitted here is in OUTPUT_DIR: log.txt, metrics.json and the TensorBoard events.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from detectron2.utils.events import CommonMetricPrinter, EventStorage, get_event_storage
from detectron2.utils.logger import setup_logger

from ..processes import CLOSED_PIPE

# Beginnings of Detectron2's messages that only log.txt has.
_DUMPS = (
    "Command line arguments",
    "Contents of ",
    "Environment",
    "Full config saved",
    "Model:",
    "Rank of ",
    "Running with ",
)
_COPYPASTE = "copypaste:"  # metrics for scripts; the console has a table of them
_TRACEBACK = "Exception during training"  # and the traceback, by Detectron2's train loop
_AUXILIARY_LOSS = re.compile(r"(.*loss.*)_\d+")


class WithoutDumps(logging.Filter):
    """Filter of a console handler: drops Detectron2's dumps, metrics in the format for scripts, tracebacks of training.

    The command prints the error that ended a training.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        dump = record.name.startswith("detectron2") and message.startswith(_DUMPS)
        return not dump and not message.startswith((_COPYPASTE, _TRACEBACK))


def set_up_loggers(output_dir: str, rank: int) -> None:
    """Create the loggers of Detectron2 and of this package; their console handlers omit dumps.

    Must be called before Detectron2's `default_setup`, which then finds its loggers set up.
    """
    loggers = [
        setup_logger(output_dir, distributed_rank=rank, name="masqclip_d2", abbrev_name="masqclip"),
        setup_logger(output_dir, distributed_rank=rank, name="fvcore"),  # called as in `default_setup`: cached results
        setup_logger(output_dir, distributed_rank=rank),
    ]
    for logger in loggers:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                handler.addFilter(WithoutDumps())
                handler.handleError = partial(_handle_error, handler.handleError)
    logging.getLogger(__name__).info("Configuration, environment and model: %s", os.path.join(output_dir, "log.txt"))


def _handle_error(default: Callable[[logging.LogRecord], None], record: logging.LogRecord) -> None:
    """End a run whose output nobody reads any more (`| head`); `logging` would print a traceback for each line."""
    error = sys.exc_info()[1]
    if not isinstance(error, BrokenPipeError):
        default(record)
    elif multiprocessing.parent_process() is None:
        raise error
    else:
        sys.exit(CLOSED_PIPE)


class MetricPrinter(CommonMetricPrinter):
    """Detectron2's training line without the losses of auxiliary outputs."""

    def write(self) -> None:
        with _without_auxiliary_losses(get_event_storage()):
            super().write()


@contextmanager
def _without_auxiliary_losses(storage: EventStorage) -> Iterator[None]:
    """Let a storage omit metrics "NAME_0", "NAME_1", ... of a loss that also has a metric "NAME"."""
    histories, latest = storage.histories, storage.latest_with_smoothing_hint
    names = histories().keys()
    auxiliary = {name for name in names if (match := _AUXILIARY_LOSS.fullmatch(name)) and match[1] in names}

    def without(metrics: dict) -> dict:
        return {name: value for name, value in metrics.items() if name not in auxiliary}

    hidden = {
        "histories": lambda: without(histories()),
        "latest_with_smoothing_hint": lambda window_size=20: without(latest(window_size)),
    }
    vars(storage).update(hidden)  # instance attributes, which hide the methods
    try:
        yield
    finally:
        for name in hidden:
            delattr(storage, name)
