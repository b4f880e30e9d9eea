"""Connections to servers: parts of files, redirects, tokens, proxies, and the reasons of failures."""

import shutil
import socket
import subprocess
import time

import pytest

from masqclip_d2.hub import http, place_of
from masqclip_d2.hub.http import Interrupted, PlaceError, open_place
from tests.file_server import running_server

CONTENT = bytes(range(256)) * 1000
SHA256 = "ab" * 32


def read(place, *arguments):
    with open_place(place, *arguments) as answer:
        return answer.start, b"".join(answer.chunks())


def test_whole_file_and_a_part(file_server):
    place = place_of(file_server.add("/m.pth", CONTENT))
    assert read(place) == (0, CONTENT)
    assert read(place, 1000) == (1000, CONTENT[1000:])
    with open_place(place, 1000) as answer:
        assert answer.facts.size == len(CONTENT) and answer.facts.etag


def test_a_part_of_a_file_that_has_changed_is_the_whole_file(file_server):
    place = place_of(file_server.add("/m.pth", CONTENT))
    with open_place(place) as answer:
        etag = answer.facts.etag
    file_server.add("/m.pth", CONTENT + b"more")
    assert read(place, 1000, etag) == (0, CONTENT + b"more")


def test_a_server_without_parts(file_server):
    place = place_of(file_server.add("/m.pth", CONTENT, ranges=False))
    assert read(place, 1000) == (0, CONTENT)


def test_a_server_that_does_not_state_the_size(file_server):
    place = place_of(file_server.add("/m.pth", CONTENT, chunked=True))
    with open_place(place) as answer:
        assert answer.facts.size is None and b"".join(answer.chunks()) == CONTENT


@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_that_ends_early(file_server, chunked):
    place = place_of(file_server.add("/m.pth", CONTENT, ends_after=100_000, chunked=chunked))
    with open_place(place) as answer, pytest.raises(Interrupted, match="the connection ended after 1[0-9]{5} of"):
        list(answer.chunks())


@pytest.mark.parametrize(
    "options",
    [
        {"content": b"<!DOCTYPE html><title>Please log in</title>"},
        {"content": b"Virus scan warning", "headers": {"Content-Type": "text/html; charset=utf-8"}},
    ],
)
def test_web_pages(file_server, options):
    with pytest.raises(PlaceError, match="the server sends a web page, not the file"):
        open_place(place_of(file_server.add("/m.pth", **options)))


def test_the_address_of_a_page_of_the_hub(file_server):
    url = file_server.add("/o/r/blob/main/m.pth", b"<!DOCTYPE html>")
    with pytest.raises(PlaceError, match="write hf://OWNER/REPO/FILE instead of the address of its page"):
        open_place(place_of(url))


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "HTTP 404: the server has no such file"), (403, "HTTP 403: the server does not permit it"), (503, "503")],
)
def test_statuses(file_server, status, reason):
    with pytest.raises(PlaceError, match=reason) as error:
        open_place(place_of(file_server.add("/m.pth", status=status)))
    assert not error.value.unreachable


def test_statuses_of_the_hub(file_server):
    file_server.add("/o/r/resolve/main/m.pth", status=401, headers={"X-Error-Code": "RepoNotFound"})
    with pytest.raises(PlaceError, match=r"the Hub has no such repository, or it needs a token \(HF_TOKEN\)"):
        open_place(place_of("hf://o/r/m.pth"))
    file_server.add("/o/r/resolve/main/m.pth", status=403, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(PlaceError, match="accept the conditions of o/r on its page, and set HF_TOKEN"):
        open_place(place_of("hf://o/r/m.pth"))


def test_what_the_hub_states_before_it_redirects(file_server):
    with running_server() as storage:
        headers = {"X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": str(len(CONTENT)), "X-Repo-Commit": "1"}
        target = storage.add("/blob", CONTENT, chunked=True)
        file_server.add("/o/r/resolve/main/m.pth", redirect=target, headers=headers)
        with open_place(place_of("hf://o/r/m.pth")) as answer:
            assert answer.facts.sha256 == SHA256 and answer.facts.size == len(CONTENT)
            assert b"".join(answer.chunks()) == CONTENT
        assert read(place_of("hf://o/r/m.pth"), 500)[0] == 500
        assert storage.ranges() == ["", "bytes=500-"]


def test_an_etag_is_a_sha256_only_on_the_hub(file_server):
    headers = {"ETag": f'"{SHA256}"'}
    file_server.add("/o/r/resolve/main/m.pth", CONTENT, headers=headers)
    with open_place(place_of("hf://o/r/m.pth")) as answer:
        assert answer.facts.sha256 == SHA256
    with open_place(place_of(file_server.add("/m.pth", CONTENT, headers=headers))) as answer:
        assert answer.facts.sha256 == ""


def test_the_token_goes_to_the_hub_only(file_server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running_server() as storage:
        target = storage.add("/blob", CONTENT)
        file_server.add("/o/r/resolve/main/m.pth", redirect="/o/renamed/m.pth")
        file_server.add("/o/renamed/m.pth", redirect=target)
        assert read(place_of("hf://o/r/m.pth")) == (0, CONTENT)
        read(place_of(target))
        assert [headers.get("authorization") for _, headers in file_server.requests] == ["Bearer hf_secret"] * 2
        assert [headers.get("authorization") for _, headers in storage.requests] == [None, None]


def test_proxies_of_the_environment(file_server, monkeypatch):
    file_server.add("http://weights.example/m.pth", CONTENT)  # a proxy gets the whole address
    monkeypatch.setenv("http_proxy", file_server.url)
    assert read(place_of("http://weights.example/m.pth")) == (0, CONTENT)


def test_nobody_listens(own_cache):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(PlaceError, match=f"127.0.0.1:{port} refuses the connection") as error:
        open_place(place_of(f"http://127.0.0.1:{port}/m.pth"))
    assert error.value.unreachable


def test_a_host_that_does_not_answer(own_cache, monkeypatch):
    """A full queue of connections: further ones are dropped without an answer, as by a firewall."""
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 0.5)
    with socket.socket() as silent, socket.socket() as first, socket.socket() as second:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(silent.getsockname())
        place = place_of(f"http://127.0.0.1:{silent.getsockname()[1]}/m.pth")
        start = time.monotonic()
        with pytest.raises(PlaceError, match="no answer from 127.0.0.1") as error:
            open_place(place)
        assert error.value.unreachable and time.monotonic() - start < 5


def test_a_server_that_accepts_and_is_silent(own_cache, monkeypatch):
    monkeypatch.setattr(http, "READ_TIMEOUT", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(PlaceError, match="no answer from 127.0.0.1"):
            open_place(place_of(f"http://127.0.0.1:{silent.getsockname()[1]}/m.pth"))


def test_a_name_that_is_not_known(own_cache):
    with pytest.raises(PlaceError, match="the name of weights.invalid cannot be resolved"):
        open_place(place_of("http://weights.invalid/m.pth"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with the program openssl")
def test_certificates(own_cache, tmp_path, monkeypatch):
    words = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=127.0.0.1"
    name = "-addext subjectAltName=IP:127.0.0.1"
    subprocess.run(f"{words} {name}".split(), cwd=tmp_path, check=True, capture_output=True)
    with running_server(tmp_path / "cert.pem", tmp_path / "key.pem") as server:
        place = place_of(server.add("/m.pth", CONTENT))
        assert place.url.startswith("https://")
        with pytest.raises(
            PlaceError, match=r"certificate of 127.0.0.1:\d+ is not trusted .*self.signed.*SSL_CERT_FILE"
        ):
            open_place(place)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert read(place, 10) == (10, CONTENT[10:])
