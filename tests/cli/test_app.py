"""The verb `app`: the page as a user starts it; tests/web has the rest."""

import signal
import time

import pytest

from masqclip_d2.cli import app
from masqclip_d2.cli.app import main
from tests.helpers import started_server


def test_a_missing_package(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert "masqclip app needs the packages gradio, fastapi, uvicorn: pip install 'masqclip_d2[app]'." in error


def test_models_on_this_disk_are_offered(monkeypatch):
    monkeypatch.setattr("masqclip_d2.presets.is_ready", lambda preset: preset.name in ("shapes", "photos", "masqclip"))
    assert list(app._others("photos")) == ["shapes", "masqclip"]


@pytest.mark.slow
def test_the_page_and_a_stop():
    pytest.importorskip("gradio", reason="the extra app is not installed")
    httpx = pytest.importorskip("httpx")
    with started_server("app", "Web page") as (process, address):
        with httpx.Client(timeout=30) as client:
            assert "gradio" in client.get(address).text
            with client.stream("GET", f"{address}/gradio_api/heartbeat/visitor"):  # an open tab
                process.send_signal(signal.SIGTERM)
                begin = time.monotonic()
                assert process.wait(20) == 0
        assert time.monotonic() - begin < 6  # 2 s on an idle machine
