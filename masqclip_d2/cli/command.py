"""What all our commands share: one clear sentence instead of a traceback, and a non-zero exit code."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable

# What a user can cause (files, data, config, packages, memory); anything else is our fault and keeps its traceback.
_USER_ERRORS = (
    ValueError,
    KeyError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    PermissionError,
    ImportError,
)


def command(main: Callable) -> Callable:
    """Decorate a command's main function: errors that a user can cause become `error: <sentence>` and exit code 1.

    MASQCLIP_DEBUG=1 keeps the traceback.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except _USER_ERRORS as error:
            if os.environ.get("MASQCLIP_DEBUG", "0") not in ("", "0"):
                traceback.print_exc()
            print(f"error: {sentence(error)}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("error: interrupted.", file=sys.stderr)
            sys.exit(130)

    return wrapper


def sentence(error: BaseException) -> str:
    """The message of an error as one line; a KeyError's text without the quotes that Python puts around it."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__
