"""Commands in processes of their own without the seconds that importing PyTorch takes: forks of a server that has it.

Each command has a fresh process with its own working directory, arguments and environment, as from a shell. Which
Detectron2 is used was decided when the server started.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["masqclip_d2", "masqclip_d2.engine.launch", "masqclip_d2.predictor"])


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
        fork_children: `subprocess.run` in the command is `run_and_print`, so that the stages of a method start quickly.

    Raises:
        subprocess.TimeoutExpired: the command took longer and was killed.
    """
    words = [str(word) for word in words]
    folder = str(Path(cwd or ".").resolve())
    with tempfile.TemporaryDirectory() as temporary:
        outputs = [Path(temporary, name) for name in ("stdout", "stderr")]
        arguments = (words, folder, dict(os.environ if env is None else env), *map(str, outputs), fork_children)
        process = _context.Process(target=_run_program, args=arguments)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout)
        stdout, stderr = (path.read_text(encoding="utf-8", errors="replace") for path in outputs)
    return subprocess.CompletedProcess([sys.executable, *words], process.exitcode, stdout, stderr)


def run_and_print(words: Sequence[str], check: bool = False) -> subprocess.CompletedProcess[str]:
    """Like `subprocess.run` for a command line of Python, whose output is that of this process."""
    assert words[0] == sys.executable and not check
    done = run_python(words[1:])
    print(done.stdout, end="", flush=True)
    print(done.stderr, end="", file=sys.stderr, flush=True)
    return done


def _run_program(
    words: list[str], cwd: str, env: dict[str, str], stdout: str, stderr: str, fork_children: bool
) -> None:
    """Become the process of `python WORDS`."""
    if fork_children:
        subprocess.run = run_and_print
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
