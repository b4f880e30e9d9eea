"""ASGI middleware: requests with too many bytes are refused, before they are read where their length is known."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..optional_packages import optional_package
from .limits import Limits
from .uploads import too_large

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_FORM = 100_000  # bytes of a request around its files
_DRAINED = 4  # times the limit: so much is read and dropped, as many clients read no answer before they have sent all


class BodyLimit:
    """An application whose requests have at most `upload_mb`, by their header Content-Length or else by their bytes.

    Args:
        app: the application.
        limits: see there.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], limits: Limits) -> None:
        self._app, self._most, self._message = app, limits.upload_bytes + _FORM, str(too_large(limits))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if lengths and lengths[0].isdigit() and int(lengths[0]) > self._most:
            if int(lengths[0]) <= _DRAINED * self._most:
                await _drain(receive, _DRAINED * self._most)
            await self._refuse(send)
            return
        received = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                if message.get("more_body"):
                    await _drain(receive, _DRAINED * self._most)
                raise optional_package("starlette.exceptions").HTTPException(413, self._message)
            return message

        await self._app(scope, counted, send)

    async def _refuse(self, send: Send) -> None:
        body = json.dumps({"error": self._message}).encode("utf-8")
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
                   (b"connection", b"close")]  # fmt: skip
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _drain(receive: Receive, most: int) -> None:
    """Read the rest of a body, or so many bytes of it."""
    received, more = 0, True
    while more and received < most:
        message = await receive()
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
