"""Lock of an output folder: two runs that write to the same folder would mix their files."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE = "run.lock"  # in OUTPUT_DIR; holds the number of the process, and stays after it

logger = logging.getLogger(__name__)

_held: set[int] = set()
"""Descriptors of this process; a forked process would hold their locks longer than this process lives."""


@contextlib.contextmanager
def output_lock(
    folder: str | Path, option: str = "OUTPUT_DIR", run: str = "training", shared: bool = False
) -> Iterator[None]:
    """Hold the lock of a folder during a block; the lock ends with this process, however that ends.

    On a file system without locks there is a warning instead.

    Args:
        folder: the output folder; "" is not locked.
        option, run: names of the option and of what runs, for messages.
        shared: others that share the lock may run beside this one.

    Raises:
        ValueError: another process holds the lock.
    """
    if not folder:
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    descriptor = os.open(Path(folder) / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _lock(descriptor, folder, option, run, shared)
        _held.add(descriptor)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _lock(descriptor: int, folder: str | Path, option: str, run: str, shared: bool) -> None:
    try:
        import fcntl

        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        raise ValueError(
            f"{option} {folder} is in use by another {run}{f' (process {owner})' if owner.isdigit() else ''}; "
            f"choose another {option}, or end that {run}."
        ) from None
    except (ImportError, OSError) as error:  # no such module on Windows
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        logger.warning("%s cannot be locked (%s): do not start a second %s with this %s.", folder, error, run, option)


def _close_held() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_held)
