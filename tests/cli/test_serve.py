"""The verb `serve`: the service as a user starts it; tests/web has the rest."""

import signal
import time
from pathlib import Path

import pytest

import masqclip_d2
from masqclip_d2.cli.serve import main
from tests.helpers import started_server

SAMPLE = Path(masqclip_d2.__file__).parent / "shapes" / "samples" / "shapes_1.png"


def refusal(capsys, *words) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 1
    return capsys.readouterr().err


def test_wrong_options_and_a_missing_package(capsys, monkeypatch):
    pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")
    assert "The limit queue is 0; expected a number above 0" in refusal(capsys, "--max-queue", 0)
    assert "Nothing can listen at 127.0.0.1:70000" in refusal(capsys, "--port", 70000)
    assert "There is no model 'shape'" in refusal(capsys, "--port", 0, "--model", "shape")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "fastapi_offline, uvicorn, multipart: pip install 'masqclip_d2[serve]'" in refusal(capsys)


def test_a_request_and_a_stop():
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")
    with started_server("serve", "Service") as (process, address):
        data = {"categories": "dotted cross,dotted square", "stuff": "water"}
        files = {"image": ("a.png", SAMPLE.read_bytes())}
        found = httpx.post(f"{address}/segment", data=data, files=files, timeout=120).json()
        assert [one["name"] for one in found["categories"]] == ["dotted cross", "dotted square", "water"]
        assert found["annotations"]
        process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - begin < 5  # 0.4 s on an idle machine
