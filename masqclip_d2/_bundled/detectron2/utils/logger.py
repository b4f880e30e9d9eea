"""Logging to the terminal and to a file, and rate-limited log messages."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from termcolor import colored

from .file_io import PathManager

_DATE_FORMAT = "%m/%d %H:%M:%S"
_call_counts: Counter = Counter()
_last_call_seconds: dict[object, float] = {}


class _TerminalFormatter(logging.Formatter):
    """Colored `[date name]: message` with a short name, and the level from WARNING on."""

    def __init__(self, name: str, abbrev_name: str):
        super().__init__(datefmt=_DATE_FORMAT)
        self._name, self._abbrev_name = name, abbrev_name

    def formatMessage(self, record: logging.LogRecord) -> str:
        name = record.name
        if name == self._name or name.startswith(self._name + "."):
            name = (self._abbrev_name + name[len(self._name) :]).lstrip(".")
        level = colored(record.levelname, "red") + " " if record.levelno >= logging.WARNING else ""
        return colored(f"[{record.asctime} {name}]: ", "green") + level + record.message

    def usesTime(self) -> bool:
        return True


@functools.lru_cache  # a second call with equal arguments must not add handlers
def setup_logger(
    output: str | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Add handlers to a logger: the terminal (rank 0 only) and optionally a file.

    Args:
        output: folder of `log.txt`, or a file with suffix .txt or .log; ranks above 0 append `.rank<k>`.
        distributed_rank: rank of this process.
        color: short lines on the terminal, colored if it supports colors; False writes the same lines as to the
            file.
        name: the logger's name.
        abbrev_name: name in colored lines; None = "d2" for detectron2, else the name itself.
        enable_propagation: whether records propagate to the root logger.
        configure_stdout: whether to add the terminal.
    """
    if abbrev_name is None:
        abbrev_name = "d2" if name == "detectron2" else name
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    plain = logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", _DATE_FORMAT)
    if configure_stdout and distributed_rank == 0:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(_TerminalFormatter(name, abbrev_name) if color else plain)
        logger.addHandler(handler)
    if output is not None:
        path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
        handler = logging.StreamHandler(_open_log(path if distributed_rank == 0 else f"{path}.rank{distributed_rank}"))
        handler.setFormatter(plain)
        logger.addHandler(handler)
    return logger


@functools.lru_cache  # loggers of different names share one log file
def _open_log(path: str) -> Any:
    PathManager.mkdirs(os.path.dirname(path) or ".")
    stream = PathManager.open(path, "a")
    atexit.register(stream.close)
    return stream


def _caller() -> tuple[str, tuple[str, int]]:
    """Module name and (file, line) of the nearest frame outside of this module."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "")
    return "detectron2" if module == "__main__" else module, (frame.f_code.co_filename, frame.f_lineno)


def log_first_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None, key: str | tuple = "caller") -> None:
    """Log only the first `n` calls.

    Args:
        lvl: level, as in `logging`.
        msg: text.
        n: number of calls that are logged.
        name: logger; None = the caller's module.
        key: calls with an equal "caller" (file and line), "message", or both (a tuple) are counted together.
    """
    module, location = _caller()
    parts = (key,) if isinstance(key, str) else tuple(key)
    unknown = set(parts) - {"caller", "message"}
    if unknown:
        raise ValueError(f"key is {sorted(unknown)}; expected 'caller', 'message' or both.")
    identity = ("first", *((location if part == "caller" else msg) for part in parts))
    _call_counts[identity] += 1
    if _call_counts[identity] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log the first call of a line of code and then every `n`-th."""
    module, location = _caller()
    _call_counts["every", location] += 1
    if n == 1 or _call_counts["every", location] % n == 1:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log a line of code at most once every `n` seconds."""
    module, location = _caller()
    now = time.monotonic()
    if location not in _last_call_seconds or now - _last_call_seconds[location] >= n:
        _last_call_seconds[location] = now
        logging.getLogger(name or module).log(lvl, msg)


def create_small_table(small_dict: Mapping[str, float]) -> str:
    """A text table with one row of values."""
    from tabulate import tabulate

    return tabulate(
        [list(small_dict.values())],
        headers=list(small_dict),
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )
