"""How far a run is, in one line of a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_CLEAR = "\r\x1b[K"


class Progress:
    """The number of finished images and the time left, in the last line of a terminal.

    Args:
        total: number of images.
        stream: where it is shown, if that is a terminal; None: stderr.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._is_shown = total > 1 and self._stream.isatty()
        self._start = time.monotonic()
        self._done = 0

    def __enter__(self) -> Progress:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def advance(self) -> None:
        """One more image is finished."""
        self._done += 1
        self._show()

    def clear(self) -> None:
        """Remove the line, before other text is written."""
        if self._is_shown:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _show(self) -> None:
        if self._is_shown:
            left = ""
            if self._done:
                seconds = (time.monotonic() - self._start) / self._done * (self._total - self._done)
                left = f", {duration(seconds)} left"
            self._stream.write(f"{_CLEAR}{self._done} of {self._total} images{left}")
            self._stream.flush()


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
