"""Report of an error at the command line: one sentence, and for errors of the user's own code (`--import`) their place.

Errors that this package raises have messages for the user. One that a user's proposer or mapper raises is a bug there;
its message alone, for a KeyError the key, does not help. Errors of other processes (data loader workers, the processes
of a training) arrive as text.
"""

from __future__ import annotations

import ast
import errno
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from .processes import WorkerDiedError, loader_worker_death
from .renamed_arguments import RenamedArgumentError

# Errors that a user can cause (files, data, config, packages); any other is a bug and keeps its traceback.
_USER_ERRORS = (
    ValueError,
    KeyError,
    OSError,
    ImportError,
    MemoryError,
    RenamedArgumentError,
    WorkerDiedError,
)
_LONGEST_MESSAGE = 10_000  # characters; longer ones name values from a file
_ADVICE = {
    errno.ENOSPC: "Free some space, or choose another folder.",
    errno.EDQUOT: "Free some space, or choose another folder.",
    errno.EROFS: "Choose another folder.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n), or use fewer workers.",
}
_PATH = (str, bytes, os.PathLike)  # a file may also be given by its descriptor
_FROM_PROCESS = re.compile(
    r"\s*(Caught \w+ in .+\nOriginal|-- Process \d+ terminated with the following error:\n)\s*Traceback .+:\n  File "
)
_OF_SYSTEM = re.compile(r"\[Errno (?P<number>\d+)\] (?P<reason>[^:]+): '(?P<file>[^']+)'")
_FRAME = re.compile(r'  File "(?P<file>.+)", line \d+, in .+')
_LIBRARIES = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))


def is_user_error(error: BaseException) -> bool:
    """Whether a user can cause this error, which then needs no traceback of this package."""
    if isinstance(error, _USER_ERRORS) or loader_worker_death(_message(error)):
        return True
    if not _FROM_PROCESS.match(_message(error)):
        return False
    return _parsed(_message(error))[0] in {each.__name__ for each in _USER_ERRORS}


def error_report(error: BaseException, subject: str = "") -> str:
    """Text that a command prints: `error: SENTENCE`, below the traceback of the user's code if that raised it.

    Args:
        error: what was raised.
        subject: such as the name of a file; it begins the sentence unless the message contains it.
    """
    death = loader_worker_death(_message(error))
    if death is not None:
        return f"error: {death}\n"
    if _FROM_PROCESS.match(_message(error)):
        name, message, frames = _parsed(_message(error))
    else:
        name, message = type(error).__name__, _message(error)
        stack = traceback.extract_tb(error.__traceback__)
        frames = [(entry.filename, text) for entry, text in zip(stack, traceback.format_list(stack), strict=True)]
    about = f"{subject}: " if subject and subject not in message else ""
    own = _own_code(frames)
    if not own:
        return f"error: {about}{_one_line(message) or name}\n"
    return "".join(["Traceback of your code:\n", *own, f"error: {about}{name}: {_one_line(message)}\n"])


def sentence(error: BaseException) -> str:
    """The message of an error on one line; its type if it has none."""
    return _one_line(_message(error)) or type(error).__name__


def _parsed(text: str) -> tuple[str, str, list[tuple[str, str]]]:
    """(name of the error, its message, [(file, text of the frame)]) of a traceback that arrived as text."""
    lines = text.splitlines(keepends=True)
    starts = [index for index, line in enumerate(lines) if _FRAME.match(line)]
    end = next(index for index in range(starts[-1] + 1, len(lines)) if not lines[index].startswith((" ", "\n")))
    frames = [
        (lines[first].split('"')[1], "".join(lines[first:last]))
        for first, last in zip(starts, [*starts[1:], end], strict=True)
    ]
    name, _, message = "".join(lines[end:]).strip().partition(": ")
    if name == "KeyError" and message[:1] in "\"'":
        message = str(ast.literal_eval(message))
    if found := _OF_SYSTEM.fullmatch(message):
        message = _with_advice(found["file"], found["reason"], int(found["number"]))
    return name, message, frames


def _own_code(frames: Sequence[tuple[str, str]]) -> list[str]:
    """Frames of the user's code that raised the error, libraries that it called included; [] if it did not."""
    packages = tuple(str(folder) + "/" for folder in _package_folders())
    own: list[str] = []
    for file, text in frames:
        if file.startswith(packages):
            own = []
        elif own or not _is_library(file):
            own.append(text)
    return own


def _is_library(file: str) -> bool:
    return file.startswith(("<", *_LIBRARIES)) or "site-packages" in file or "dist-packages" in file


def _package_folders() -> list[Path]:
    """Folders of this package, of its projects in a checkout, and of the Detectron2 in use."""
    detectron2 = sys.modules.get("detectron2")
    package = Path(__file__).resolve().parent
    return [package, package.parent / "projects", *map(Path, getattr(detectron2, "__path__", ()))]


def _message(error: BaseException) -> str:
    """The message of an error: a KeyError's without the quotes that Python adds, one of the system with its file."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        files = " -> ".join(os.fsdecode(file) for file in (error.filename, error.filename2) if isinstance(file, _PATH))
        return _with_advice(files, error.strerror, error.errno)
    if isinstance(error, MemoryError) and not str(error):
        return "There is not enough memory."
    return str(error)


def _with_advice(file: str, reason: str, number: int) -> str:
    return f"{f'{file}: ' if file else ''}{reason}. {_ADVICE.get(number, '')}".strip()


def _one_line(text: str) -> str:
    """On one line, of bounded length, without characters that control a terminal or hide others."""
    line = " ".join(text.split())
    if len(line) > _LONGEST_MESSAGE:
        line = f"{line[: _LONGEST_MESSAGE // 2]} ... {line[-_LONGEST_MESSAGE // 2 :]}"
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in line)
