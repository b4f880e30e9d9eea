"""A stand-in for the Hugging Face Hub: it makes repositories, takes commits of small files, and delivers files."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.file_server import serving


class HubServer:
    """`repos` maps "owner/name" to {file: content}; `refusal`: HTTP status of every request that writes, 0 for none."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        self.tokens: set[str] = set()
        self.refusal = 0


@contextlib.contextmanager
def running_hub() -> Iterator[HubServer]:
    """The server in a thread."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    httpd.daemon_threads = True
    httpd.hub = HubServer(httpd.server_address[1])
    with serving(httpd):
        yield httpd.hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        hub = self.server.hub
        wanted = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
        content = hub.repos.get(wanted[1], {}).get(wanted[2]) if wanted else None
        if content is None:
            return self._answer({"error": "not found"}, 404)
        return self._send(content, 200, "application/octet-stream")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        hub = self.server.hub
        hub.tokens.add(self.headers.get("Authorization", ""))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if hub.refusal:
            return self._answer({"error": "You have no right to write here."}, hub.refusal)
        if self.path == "/api/repos/create":
            wanted = json.loads(body)
            repo = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
            hub.repos.setdefault(repo, {})
            hub.private[repo] = bool(wanted.get("private")) or wanted.get("visibility") == "private"
            return self._answer({"url": f"{hub.url}/{repo}", "id": repo, "name": repo})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        step = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/([^/?]+)(\?.*)?", self.path)
        if step is None or step[1] not in hub.repos:
            return self._answer({"error": f"unknown address {self.path}"}, 404)
        if step[2] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._answer({"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "header":
                hub.messages.append(line["value"]["summary"])
            elif line["key"] == "file":
                hub.repos[step[1]][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self._answer({"commitUrl": f"{hub.url}/{step[1]}/commit/1", "commitOid": "1", "success": True})

    def _answer(self, content: dict, status: int = 200) -> None:
        self._send(json.dumps(content).encode(), status, "application/json")

    def _send(self, content: bytes, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
