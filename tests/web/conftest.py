"""A small random model, images, and a server in a thread."""

from __future__ import annotations

import contextlib
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from masqclip_d2 import Predictor
from masqclip_d2.web.limits import Limits
from masqclip_d2.web.models import Models
from tests.helpers import TINY_PROPOSER, tiny_clip_file

ALL_SEGMENTS = [
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0",
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0",
]  # fmt: skip


@pytest.fixture(scope="session")
def predictor(tmp_path_factory):
    """MaskCLIP with refinement of masks."""
    clip = tiny_clip_file(tmp_path_factory.mktemp("clip"))
    source = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(clip)]
    refining = ["MODEL.META_ARCHITECTURE", "MaskCLIP", "MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]"]
    opts = [*TINY_PROPOSER, *refining, *source, *ALL_SEGMENTS, "INPUT.MIN_SIZE_TEST", "32"]
    return Predictor("base/shapes", opts=opts)


@pytest.fixture
def models(predictor):
    return Models({"tiny": lambda: predictor}, 1)


@pytest.fixture
def make_client(models):
    """Makes a client of the service with some limits."""
    pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")
    from starlette.testclient import TestClient

    from masqclip_d2.web.service import make_service

    with contextlib.ExitStack() as stack:
        yield lambda **limits: stack.enter_context(TestClient(make_service(models, Limits(**limits))))


@pytest.fixture(scope="session")
def run_server():
    """Runs an application on a free port; the value is its address."""

    @contextlib.contextmanager
    def running(app):
        import uvicorn

        from masqclip_d2.web.serving import listening_socket

        listening = listening_socket("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", backlog=512, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)

    return running


def png(height=24, width=32, seed=0) -> bytes:
    """A file of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
