"""A local HTTP server that delivers files as well, or as badly, as servers do; for the fixture `file_server`."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Served:
    """One file of the server and how it is delivered.

    Args:
        content: the bytes.
        ranges: answer requests for a part of the file.
        ends_after: close the connection after this many bytes of an answer.
        failures: how often it does so; afterwards all is delivered.
        pause: seconds before each 64 KiB.
        status: other than 200, without the content.
        headers: additional ones, which replace the usual.
        redirect: address to which the server redirects, with `headers`.
        chunked: no Content-Length.
    """

    content: bytes = b""
    ranges: bool = True
    ends_after: int | None = None
    failures: int = 1_000_000
    pause: float = 0.0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    redirect: str = ""
    chunked: bool = False


class FileServer:
    """`files` maps paths such as "/models/a.pth" to `Served`; `requests` lists (path, headers) of what was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.sent = 0  # bytes of all bodies

    def add(self, path: str, content: bytes = b"", **options) -> str:
        """Serve a file; returns its address."""
        self.files[path] = Served(content, **options)
        return self.url + path

    def ranges(self) -> list[str]:
        """The header Range of each request, "" for none."""
        return [headers.get("range", "") for _, headers in self.requests]


@contextlib.contextmanager
def running_server(certificate: Path | None = None, key: Path | None = None) -> Iterator[FileServer]:
    """A server in a thread; with a certificate and its key it speaks HTTPS."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    httpd.daemon_threads = True
    server = FileServer(httpd.server_address[1])
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        server.url = server.url.replace("http:", "https:")
    httpd.file_server = server
    with serving(httpd):
        yield server


@contextlib.contextmanager
def serving(httpd: ThreadingHTTPServer) -> Iterator[None]:
    """Serve requests in a thread; at the end the server is closed."""
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: FileServer = self.server.file_server
        headers = {name.lower(): value for name, value in self.headers.items()}
        server.requests.append((self.path, headers))
        served = server.files.get(self.path.partition("?")[0], Served(status=404))
        self.close_connection = True
        if served.redirect:
            self._head(302, {"Location": served.redirect, "Content-Length": "0", **served.headers})
            return
        if served.status != 200:
            self._head(served.status, {"Content-Length": "0", **served.headers})
            return
        self._send(server, served, headers)

    def _send(self, server: FileServer, served: Served, headers: dict[str, str]) -> None:
        content, etag = served.content, f'"{hash(served.content) & 0xFFFFFFFF:x}"'
        facts = {"ETag": etag, "Content-Type": "application/octet-stream", **served.headers}
        first, last, status = 0, len(content) - 1, 200
        wanted = headers.get("range", "")
        if wanted and served.ranges and headers.get("if-range", facts["ETag"]) == facts["ETag"]:
            begin, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last, status = int(begin), min(int(end or last), last), 206
            if first > last:
                self._head(416, {"Content-Length": "0"})
                return
            facts["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        body = content[first : last + 1]
        if served.chunked:
            facts["Transfer-Encoding"] = "chunked"
        else:
            facts["Content-Length"] = str(len(body))
        self._head(status, facts)
        stop = None
        if served.ends_after is not None and served.failures > 0:
            served.failures -= 1
            stop = served.ends_after
        self._body(server, served, body[:stop], complete=stop is None)

    def _body(self, server: FileServer, served: Served, body: bytes, complete: bool) -> None:
        step = 1 << 16
        with contextlib.suppress(OSError):  # the client may leave
            for begin in range(0, len(body), step):
                time.sleep(served.pause)
                part = body[begin : begin + step]
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n" if served.chunked else part)
                server.sent += len(part)
            if served.chunked and complete:
                self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments) -> None:
        """Nothing is printed."""
