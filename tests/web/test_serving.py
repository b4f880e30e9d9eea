import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from masqclip_d2.web.serving import listening_socket

SCRIPT = """
import asyncio
from masqclip_d2.cli.command import command
from masqclip_d2.web.limits import Limits
from masqclip_d2.web.serving import listening_socket, serve

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                print("stopped", flush=True)
                return
    print("begun", flush=True)
    await asyncio.sleep(2)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"whole"})

@command
def main():
    serve(app, listening_socket("127.0.0.1", 0), Limits(), "Test")

main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_lets_requests_finish(number):
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env={**os.environ})
    try:
        address = process.stdout.readline().split()[1]
        assert address.startswith("http://127.0.0.1:")
        with httpx.Client(timeout=30) as client, httpx.Client() as idle:
            idle.get(address, timeout=30)  # a connection that stays open
            assert process.stdout.readline() == "begun\n"
            reply = ThreadPoolExecutor(1).submit(client.get, address)
            assert process.stdout.readline() == "begun\n"
            process.send_signal(number)
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                httpx.get(address)
            assert reply.result().text == "whole"
            assert process.wait(10) == 0
        assert process.stdout.read() == "stopped\n"
    finally:
        process.kill()


def test_an_address_that_is_taken():
    with listening_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"Nothing can listen at 127.0.0.1:{port} .*--port"):
            listening_socket("127.0.0.1", port)
    with pytest.raises(ValueError, match="Nothing can listen"):
        listening_socket("127.0.0.1", 99999)
