"""How far a run is, in one line of a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_CLEAR = "\r\x1b[K"


class Progress:
    """The number of finished images and the time left, in the last line of a terminal.

    Args:
        total: number of images; None: not known.
        stream: where it is shown, if that is a terminal; None: stderr.
        noun: what is counted.
    """

    def __init__(self, total: int | None, stream: TextIO | None = None, noun: str = "images") -> None:
        self._total, self._noun = total, noun
        self._stream = sys.stderr if stream is None else stream
        self._is_shown = total != 1 and total != 0 and self._stream.isatty()
        self._start = time.monotonic()
        self._done = 0

    def __enter__(self) -> Progress:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def advance(self, count: int = 1) -> None:
        """More images are finished."""
        self._done += count
        self._show()

    def clear(self) -> None:
        """Remove the line, before other text is written."""
        if self._is_shown:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _show(self) -> None:
        if self._is_shown:
            self._stream.write(f"{_CLEAR}{self._text()}")
            self._stream.flush()

    def _text(self) -> str:
        if self._total is None:
            return f"{self._done} {self._noun}"
        left = ""
        if self._done:
            seconds = (time.monotonic() - self._start) / self._done * max(self._total - self._done, 0)
            left = f", {duration(seconds)} left"
        return f"{self._done} of {self._total} {self._noun}{left}"


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
