"""Runs an application until SIGTERM or Ctrl-C; what was accepted is finished first."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from ..optional_packages import optional_package
from ..processes import exit_at_once, handling_signals
from .limits import Limits

_MAX_BACKLOG = 65_535  # connections that the system holds until they are accepted


def serve(
    app: Any, listening: socket.socket, limits: Limits, what: str, is_busy: Callable[[], bool] | None = None
) -> NoReturn:
    """Answer requests until a signal arrives, then end the process.

    Args:
        app: an ASGI application.
        listening: see `listening_socket`.
        limits: `stop_s` bounds the time after the signal.
        what: for the line that is printed at the start, "Web page".
        is_busy: whether a request is at work, for applications whose connections stay open; None: a connection is a
            request.
    """
    uvicorn = optional_package("uvicorn")
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=max(1, round(limits.stop_s)),
        backlog=min(2 * limits.queue, _MAX_BACKLOG),
    )
    print(f"{what}: http://{shown}:{port} (Ctrl-C stops it)", flush=True)
    with handling_signals(), contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again at its end
        server = uvicorn.Server(config)
        if is_busy is not None:
            server.shutdown = _shutdown_when_idle(server, is_busy, limits.stop_s)
        server.run(sockets=[listening])
    exit_at_once(0)


def _shutdown_when_idle(server: Any, is_busy: Callable[[], bool], most_s: float) -> Callable[..., Awaitable[None]]:
    """`server.shutdown` that accepts no connection, and closes those that are open when the application is idle."""
    shutdown = server.shutdown

    async def wait_and_shut_down(sockets: Any = None) -> None:
        for each in server.servers:
            each.close()
        end = time.monotonic() + most_s
        while is_busy() and time.monotonic() < end:
            await asyncio.sleep(0.1)
        server.config.timeout_graceful_shutdown = 1
        await shutdown(sockets)

    return wait_and_shut_down


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket at an address, before anything slow is done; clients wait until they are answered.

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
        found.listen()  # a second server at this address is refused from now on, not when its model is loaded
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"Nothing can listen at {host}:{port} ({reason}); choose others by --host and --port."
        ) from None
    return found
