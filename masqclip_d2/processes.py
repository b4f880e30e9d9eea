"""Processes that stop at once and leave no orphans: signals, pools of workers, children that end with their parent."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NoReturn

CLOSED_PIPE = 141  # exit code of a program that SIGPIPE (13) ended: 128 + 13
_NOTICE = 0.5  # seconds in which a signal is noticed
_GRACE = 1.2  # seconds in which an interrupted command may clean up
_KILL_AFTER = 0.5  # seconds in which a worker may clean up
_PARENT_CHECK_PERIOD = 0.5  # seconds

_LOADER_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (?P<pid>[\d, ]+)\) "
    r"(?:is killed by signal: (?P<signal>[^.]+)\.|exited unexpectedly)"
)

PARENT_VARIABLE = "MASQCLIP_PARENT"
"""Environment variable with the number of a process with which the commands that it starts shall end."""

_TERMINATING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_signal_received = threading.Event()


class Terminated(KeyboardInterrupt):
    """The signal `number`, SIGTERM or SIGHUP (a terminal was closed), was received; cleaned up after like Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class WorkerDiedError(RuntimeError):
    """A worker process ended without a result; the message has the reason."""


def exit_interrupted(interrupt: KeyboardInterrupt) -> NoReturn:
    """End children, then this process with exit code 128 + number of the signal, as shells report it."""
    terminated = isinstance(interrupt, Terminated)
    with contextlib.suppress(OSError):  # the terminal was closed
        print(f"error: {'terminated' if terminated else 'interrupted'}.", file=sys.stderr)
    with contextlib.suppress(ValueError):  # not in the main thread
        # Further signals change nothing any more. PyTorch raises an error when a worker ends, now on purpose.
        for each in (signal.SIGINT, *_TERMINATING):
            signal.signal(each, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    stop_children()
    code = 128 + (interrupt.number if isinstance(interrupt, Terminated) else signal.SIGINT)
    if _signal_received.wait(_NOTICE):  # the thread that notices it may be waiting for a core
        exit_at_once(code)
    sys.exit(code)


def exit_at_once(code: int) -> NoReturn:
    """End this process without the interpreter's exit, which takes seconds if PyTorch is loaded."""
    logging.shutdown()
    _flush_output()
    os._exit(code)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `Terminated` in a block, and end the process soon after them or SIGINT in any case.

    Python handles signals between two of its instructions, but a step of a training is a single one for seconds.
    Has an effect in the main thread only, and only if SIGTERM has its default handler. SIGHUP stays as it is if it has
    another one: under nohup it is ignored.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    if os.environ.get(PARENT_VARIABLE) == str(os.getppid()):
        end_with_parent()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handled = [each for each in _TERMINATING if signal.getsignal(each) == signal.SIG_DFL]
    for each in handled:
        signal.signal(each, _raise_terminated)
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end_after_grace, args=(reader, {signal.SIGINT, *handled}), daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        raise  # the thread still ends the process if its exit takes too long
    except BaseException:
        _stop_listening(previous, writer, handled)
        raise
    else:
        _stop_listening(previous, writer, handled)


@contextlib.contextmanager
def handling_signals() -> Iterator[None]:
    """In this block signals do not end the process soon, as `stoppable` has it; what runs in it handles them."""
    previous = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous, warn_on_full_buffer=False)


def _stop_listening(previous: int, writer: int, handled: list[signal.Signals]) -> None:
    signal.set_wakeup_fd(previous)
    for each in handled:
        signal.signal(each, signal.SIG_DFL)
    os.close(writer)  # ends the thread


def _raise_terminated(signum: int, frame: Any) -> NoReturn:
    raise Terminated(signum)


def _end_after_grace(reader: int, signals: set[int]) -> None:
    """Wait for one of the signals, then give the main thread time to exit, then end the process."""
    while byte := os.read(reader, 1):
        if byte[0] in signals:
            _signal_received.set()
            time.sleep(_GRACE)
            stop_children(grace=0.0)
            _flush_output()
            os._exit(128 + byte[0])
    os.close(reader)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _forget_signals() -> None:
    """In a forked process: signals that it receives are not those of its parent."""
    with contextlib.suppress(ValueError):
        if signal.getsignal(signal.SIGTERM) is _raise_terminated:
            signal.set_wakeup_fd(-1)
        for each in _TERMINATING:
            if signal.getsignal(each) is _raise_terminated:
                signal.signal(each, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_signals)


def stop_children(grace: float = _KILL_AFTER, besides: Iterable[Any] = ()) -> None:
    """`end_processes` for the child processes of `multiprocessing`, except `besides`."""
    spared = set(besides)
    end_processes([child for child in multiprocessing.active_children() if child not in spared], grace)


def end_processes(processes: Iterable[Any], grace: float) -> None:
    """End processes of `multiprocessing`, stopped ones too: by SIGTERM, after `grace` seconds by SIGKILL."""
    running = [process for process in processes if process.is_alive()]
    for process in running:
        process.terminate()
    end = time.monotonic() + grace
    for process in running:
        process.join(max(0.0, end - time.monotonic()))
        if process.is_alive():
            process.kill()


def end_with_parent() -> None:
    """Let this child process be killed soon after its parent has ended in any way."""
    parent, parent_id = multiprocessing.parent_process(), os.getppid()

    def watch() -> None:
        while os.getppid() == parent_id and (parent is None or parent.is_alive()):
            time.sleep(_PARENT_CHECK_PERIOD)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def start_worker(*_: Any) -> None:
    """Set up a worker process: it ends with its parent, and Ctrl-C or a closed terminal is the parent's business."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    end_with_parent()


def in_workers(
    function: Callable[[Any], Any], items: Iterable[Any], num_workers: int, ordered: bool = False
) -> Iterator[Any]:
    """Results of a picklable function for all items, computed by worker processes.

    Args:
        function, items: what to compute.
        num_workers: number of processes.
        ordered: yield the results in the order of the items; False: as they come.

    Raises:
        WorkerDiedError: a worker was killed.
        Any error of the function; items that have not started are then left out.
    """
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(num_workers, initializer=_start_pool_worker)
    workers: list[Any] = []
    try:
        futures = [pool.submit(_until_stopped, function, item) for item in items]
        workers = [child for child in multiprocessing.active_children() if child not in others]
        yield from (future.result() for future in (futures if ordered else as_completed(futures)))
    except BrokenProcessPool:
        pool.shutdown(wait=True, cancel_futures=True)
        raise WorkerDiedError(_reason_of_death([worker.exitcode for worker in workers])) from None
    except Exception:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    except BaseException:  # an interrupt, or nobody takes the results any more
        pool.shutdown(wait=False, cancel_futures=True)
        stop_children(besides=others)
        raise
    pool.shutdown()


def _start_pool_worker() -> None:
    start_worker()
    signal.signal(signal.SIGTERM, _exit_worker)


def _exit_worker(signum: int, frame: Any) -> NoReturn:
    raise SystemExit


def _until_stopped(function: Callable[[Any], Any], item: Any) -> Any:
    """`function(item)`; SIGTERM ends the process after temporary files are removed."""
    try:
        return function(item)
    except SystemExit:
        os._exit(128 + signal.SIGTERM)


def _reason_of_death(exit_codes: Iterable[int | None]) -> str:
    # When one worker has died, the pool ends the others by SIGTERM.
    first = next((code for code in exit_codes if code and code not in (-signal.SIGTERM, 128 + signal.SIGTERM)), None)
    if first is None or first > 0:
        return "A worker process ended unexpectedly; use fewer workers (--workers)."
    return f"A worker process was ended by {describe_signal(-first)}"


def describe_signal(number: int) -> str:
    """Name of a signal that ended a worker, what it often means, and what to do; ends with a full stop."""
    name = signal.Signals(number).name
    hints = {
        signal.SIGKILL: "often because memory ran out; use fewer workers or smaller images",
        signal.SIGBUS: "often because shared memory (/dev/shm) is full; enlarge it or use fewer workers",
        signal.SIGSEGV: "a fault in compiled code",
    }
    hint = hints.get(signal.Signals(number))
    return f"{name}, {hint}." if hint else f"{name}."


def loader_worker_death(message: str) -> str | None:
    """One sentence about PyTorch's error on a data loader's worker that died; None for another error."""
    found = _LOADER_WORKER.search(message)
    if not found:
        return None
    numbers = {signal.strsignal(each): each for each in signal.Signals}
    number = numbers.get(found["signal"])
    worker = f"A data loader worker (PID {found['pid']})"
    if number is None:
        return (
            f"{worker} ended unexpectedly, often because memory or shared memory (/dev/shm) ran out; lower "
            "DATALOADER.NUM_WORKERS."
        )
    return f"{worker} was ended by {describe_signal(number)} The number of workers is DATALOADER.NUM_WORKERS."
