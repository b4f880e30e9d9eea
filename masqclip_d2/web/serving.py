"""Runs an application until SIGTERM or Ctrl-C; what was accepted is finished first."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, NoReturn

from ..optional_packages import optional_package
from ..processes import exit_at_once, handling_signals
from .limits import Limits


def serve(app: Any, listening: socket.socket, limits: Limits, what: str) -> NoReturn:
    """Answer requests until a signal arrives, then end the process.

    Args:
        app: an ASGI application.
        listening: see `listening_socket`.
        limits: `stop_s` bounds the time after the signal.
        what: for the line that is printed at the start, "Web page".
    """
    uvicorn = optional_package("uvicorn")
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=max(1, round(limits.stop_s)), backlog=2 * limits.queue
    )
    print(f"{what}: http://{shown}:{port} (Ctrl-C stops it)", flush=True)
    with handling_signals(), contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again at its end
        uvicorn.Server(config).run(sockets=[listening])
    exit_at_once(0)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket at an address, before anything slow is done.

    Args:
        host: name or address; port: 0 chooses a free one.

    Raises:
        ValueError: the address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"Nothing can listen at {host}:{port} ({reason}); choose others by --host and --port."
        ) from None
    return found
