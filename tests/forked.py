"""Commands in processes of their own without the seconds that imports take: forks of a server that has them.

Each command has a fresh process with its own working directory, arguments and environment, as from a shell. Two things
were decided when the server started: which Detectron2 is used, and that datasets are in the folder `datasets` of the
working directory.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import time
import unittest.mock
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

_starting = threading.Lock()
_context = multiprocessing.get_context("forkserver")
# The package, and what it imports when it is used.
_context.set_forkserver_preload(
    ["masqclip_d2", "masqclip_d2.engine.launch", "masqclip_d2.predictor", "torch._dynamo", "torch.utils.tensorboard"]
    + ["open_clip", "scipy.ndimage", "scipy.optimize", "pycocotools.cocoeval", "matplotlib.figure"]
)


def run_python(
    words: Sequence[str | Path],
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 900,
    fork_children: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Like `subprocess.run([sys.executable, *words], capture_output=True, text=True)`.

    Args:
        words: `SCRIPT ARGUMENTS`, `-m MODULE ARGUMENTS` or `-c CODE`.
        cwd: working directory; None: the current one.
        env: the whole environment; None: the current one.
        timeout: seconds.
        fork_children: what the command starts starts quickly too. `subprocess.run` has its command lines of Python run
            by this process (the stages of a method), and processes of a distributed run are forks of the command.

    Raises:
        subprocess.TimeoutExpired: the command took longer and was killed.
    """
    words = [str(word) for word in words]
    folder = str(Path(cwd or ".").resolve())
    with tempfile.TemporaryDirectory() as temporary:
        outputs = [Path(temporary, name) for name in ("stdout", "stderr")]
        requests, theirs = _context.Pipe() if fork_children else (None, None)
        arguments = (words, folder, dict(os.environ if env is None else env), *map(str, outputs), theirs)
        process = _context.Process(target=_run_program, args=arguments)
        _start_server()
        process.start()
        try:
            _wait(process, requests, timeout)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(words, timeout)
        finally:
            if process.exitcode is None:
                process.kill()
                process.join()
        stdout, stderr = (path.read_text(encoding="utf-8", errors="replace") for path in outputs)
    return subprocess.CompletedProcess([sys.executable, *words], process.exitcode, stdout, stderr)


def started_function(function: Callable[..., object], *arguments: Any) -> multiprocessing.process.BaseProcess:
    """A started process that calls a function of a module."""
    _start_server()
    process = _context.Process(target=function, args=arguments)
    process.start()
    return process


def run_and_print(words: Sequence[str], check: bool = False) -> subprocess.CompletedProcess[str]:
    """Like `subprocess.run(words, check=False)` for a command line of Python."""
    assert words[0] == sys.executable and not check
    return _printed(run_python(words[1:]))


def _printed(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    print(done.stdout, end="", flush=True)
    print(done.stderr, end="", file=sys.stderr, flush=True)
    return done


def _start_server() -> None:
    with _starting, unittest.mock.patch.dict(os.environ, DETECTRON2_DATASETS="datasets"):
        forkserver.ensure_running()


def _wait(process: multiprocessing.process.BaseProcess, requests: Connection | None, timeout: float) -> None:
    """Wait for the end of a command and run those that it asks for, one at a time."""
    end = time.monotonic() + timeout
    while requests is not None:
        ready = wait([process.sentinel, requests], max(0.0, end - time.monotonic()))
        if requests not in ready:
            break
        words, folder, environment = requests.recv()
        requests.send(run_python(words, folder, environment, max(0.0, end - time.monotonic())))
    process.join(max(0.0, end - time.monotonic()))


def _run_program(
    words: list[str], cwd: str, env: dict[str, str], stdout: str, stderr: str, requests: Connection | None
) -> None:
    """Become the process of `python WORDS`."""
    if requests is not None:
        _replace_starts(requests)
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    kind, *rest = words
    if kind == "-m":
        sys.path.insert(0, cwd)
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path.insert(0, cwd)
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path.insert(0, str(Path(kind).resolve().parent))
        sys.argv = words
        # Absolute, since spawned processes look for a relative script where the server was started.
        runpy.run_path(os.path.abspath(kind), run_name="__main__")


def _replace_starts(requests: Connection) -> None:
    """Processes that this command starts are run by the process behind `requests`, or are forks of this one."""
    from torch import multiprocessing as torch_multiprocessing

    run, start = subprocess.run, torch_multiprocessing.start_processes

    def run_elsewhere(words: Sequence[str], *args: Any, check: bool = False, **kwargs: Any) -> Any:
        if words[0] != sys.executable or args or kwargs:
            return run(words, *args, check=check, **kwargs)
        requests.send((words[1:], os.getcwd(), dict(os.environ)))
        done = _printed(requests.recv())
        if check:
            done.check_returncode()
        return done

    def start_forks(*args: Any, **kwargs: Any) -> Any:
        return start(*args, **{**kwargs, "start_method": "fork"})

    subprocess.run = run_elsewhere
    torch_multiprocessing.start_processes = start_forks
