#!/usr/bin/env python
"""A machine learning backend of Label Studio: its tasks go in, brush masks or polygons come out.

    python examples/label_studio_backend/server.py --model photos --files /path/of/local/files

The categories are those of the project's labeling interface. It answers GET /health and POST /setup, /predict and
/webhook, as Label Studio requires.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import os
import sys
import threading
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import brush_rle
from label_config import LabelTag, find_tag

from masqclip_d2 import Predictor, Segment, Segmentation, Vocabulary
from masqclip_d2.results.polygons import pixel_edges, with_bridges

VERSION = "masqclip_d2"
MAX_REQUEST = 64 << 20  # bytes
LOCAL_FILES = "/data/local-files/"
TOLERANCE = 1.0  # pixels, of polygons, which people edit


class Backend:
    """Predictions for tasks.

    Args:
        predictor: the model.
        files: folder of Label Studio's local files; None: there are none.
        url: address of Label Studio, from which uploaded images are loaded; "": none are.
        token: its access token.
        min_score: segments with a lower score are left out.
    """

    def __init__(
        self, predictor: Any, files: Path | None = None, url: str = "", token: str = "", min_score: float = 0.0
    ) -> None:
        self._predictor = predictor
        self._files = None if files is None else files.resolve()
        self._url, self._token = url.rstrip("/"), token
        self._min_score = min_score
        self._lock = threading.Lock()  # one image at a time

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer of /predict; a task whose image cannot be segmented has an empty result and a line on stderr.

        Raises:
            ValueError: the request has no list of tasks, or no usable labeling interface.
        """
        tasks = request.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise ValueError("The request has no list of tasks.")
        tag = find_tag(str(request.get("label_config") or ""))
        vocabulary = Vocabulary(tag.labels, tuple(name not in tag.stuff for name in tag.labels))
        return {"results": [self._of_task(task, tag, vocabulary) for task in tasks], "model_version": VERSION}

    def _of_task(self, task: dict[str, Any], tag: LabelTag, vocabulary: Vocabulary) -> dict[str, Any]:
        try:
            image = self._image(str((task.get("data") or {}).get(tag.data_key, "")))
            with self._lock:
                found = self._predictor(image, vocabulary).filter(min_score=self._min_score)
        except (ValueError, OSError, RuntimeError) as error:
            print(f"Task {task.get('id')}: {error}", file=sys.stderr)
            return {"result": [], "score": 0.0, "model_version": VERSION}
        regions = [region for segment in found for region in regions_of(segment, found, tag)]
        score = min((segment.score for segment in found), default=0.0)
        return {"result": regions, "score": score, "model_version": VERSION}

    def _image(self, address: str) -> bytes | Path:
        """An image of a task: a local file, one that Label Studio has, or one that is in the address itself."""
        parts = urllib.parse.urlsplit(address)
        if parts.scheme == "data":
            try:
                return base64.b64decode(address.partition(",")[2], validate=True)
            except binascii.Error:
                raise ValueError("the image in the task is not in base64.") from None
        if parts.path == LOCAL_FILES and not parts.netloc and self._files is not None:
            name = urllib.parse.parse_qs(parts.query).get("d", [""])[0]
            path = (self._files / name).resolve()
            if not path.is_relative_to(self._files):
                raise ValueError(f"the file {name!r} lies outside of --files.")
            return path
        own = not parts.netloc or (self._url and address.startswith(f"{self._url}/"))
        if not self._url or not own:
            raise ValueError(f"the image {address[:200]!r} is neither below --files nor at --url.")
        full = address if parts.netloc else f"{self._url}/{address.lstrip('/')}"
        headers = {"Authorization": f"Token {self._token}"} if self._token else {}
        with urllib.request.urlopen(urllib.request.Request(full, headers=headers), timeout=30) as reply:
            content = reply.read(MAX_REQUEST + 1)
        if len(content) > MAX_REQUEST:
            raise ValueError(f"the image {address[:200]!r} has more than {MAX_REQUEST >> 20} MiB.")
        return content


def regions_of(segment: Segment, result: Segmentation, tag: LabelTag) -> list[dict[str, Any]]:
    """Label Studio's regions of a segment: one brush mask, or a polygon for each part."""
    height, width = result.image.shape[:2]
    if tag.kind == "brushlabels":
        values: list[dict[str, Any]] = [{"format": "rle", "rle": brush_rle.encode(segment.mask)}]
    else:
        outlines = [with_bridges(part) for part in pixel_edges(segment.mask, TOLERANCE)]
        percent = [(outline * (100 / width, 100 / height)).round(4).tolist() for outline in outlines]
        values = [{"points": points, "closed": True} for points in percent]
    return [
        {
            "id": uuid.uuid4().hex[:10],
            "from_name": tag.from_name,
            "to_name": tag.to_name,
            "type": tag.kind,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": round(segment.score, 4),
            "value": {**value, tag.kind: [segment.label]},
        }
        for value in values
    ]


def make_server(backend: Backend, host: str, port: int) -> ThreadingHTTPServer:
    """An HTTP server of the backend; port 0 chooses a free one."""
    routes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "/predict": backend.predict,
        "/setup": lambda request: {"model_version": VERSION},
        "/webhook": lambda request: {},
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known = self.path.partition("?")[0] in ("/", "/health")
            self._reply(200, {"status": "UP", "model_class": "MasQCLIP"}) if known else self._reply(404, _unknown(self))

        def do_POST(self) -> None:
            route = routes.get(self.path.partition("?")[0])
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MAX_REQUEST:
                self.close_connection = True
                message = f"The request has no length, or more than {MAX_REQUEST >> 20} MiB."
                self._reply(413, {"error": message})
                return
            content = self.rfile.read(int(length))
            if route is None:
                self._reply(404, _unknown(self))
                return
            try:
                request = json.loads(content or b"{}")
                if not isinstance(request, dict):
                    raise ValueError("The request is no JSON object.")
                self._reply(200, route(request))
            except ValueError as error:
                self._reply(400, {"error": str(error)})

        def _reply(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode("utf-8")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            print(f"{self.command} {self.path.partition('?')[0]}: {args[1] if len(args) > 1 else ''}")

    return _Server((host, port), Handler)


class _Server(ThreadingHTTPServer):
    request_queue_size = 256  # connections that wait to be accepted; with 5, the default, others are reset


def _unknown(request: BaseHTTPRequestHandler) -> dict[str, str]:
    return {"error": f"There is no {request.path!r}; known are /health, /setup, /predict and /webhook."}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="photos", help="see `masqclip models`; default: %(default)s")
    parser.add_argument("--files", type=Path, default=None, help="folder of Label Studio's local files")
    parser.add_argument("--url", default="", help="address of Label Studio, for uploaded images")
    parser.add_argument("--min-score", type=float, default=0.0, help="leave out segments with a lower score")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s, this machine only")
    parser.add_argument("--port", type=int, default=9090, help="default: %(default)s")
    args = parser.parse_args()
    token = os.environ.get("LABEL_STUDIO_API_KEY", "")
    backend = Backend(Predictor.from_pretrained(args.model), args.files, args.url, token, args.min_score)
    server = make_server(backend, args.host, args.port)
    print(f"Listening at http://{args.host}:{server.server_port}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
