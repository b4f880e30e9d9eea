"""Weights by name: on this disk, in the caches of other programs, or from the first server that delivers them."""

import hashlib
import time

import pytest

from masqclip_d2.hub import WeightFile, place_of
from masqclip_d2.hub.http import PlaceError

CONTENT = b"\x80 some weights"
COPY = b"\x80 the same weights in another format"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
UNREACHABLE = "http://127.0.0.1:9"  # the port "discard", where nobody listens


@pytest.fixture
def both(file_server):
    """Weights with a published sha256 at one address, and a copy on the Hub under two file names."""
    first = place_of(file_server.url + "/m.pt", SHA256)
    return WeightFile("ViT", (first, place_of("hf://o/r/new.safetensors"), place_of("hf://o/r/old.bin")))


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_first_place_that_delivers(file_server, both):
    file_server.add("/o/r/resolve/main/old.bin", COPY)
    path = both.fetch()
    assert path == both.places[2].path and path.read_bytes() == COPY
    assert [request for request, _ in file_server.requests] == [
        "/m.pt", "/o/r/resolve/main/new.safetensors", "/o/r/resolve/main/old.bin",
    ]  # fmt: skip
    file_server.add("/m.pt", CONTENT)
    assert both.fetch() == path, "what is on this disk is used before a better place is asked"
    assert both.fetch(again=True) == both.places[0].path


def test_wrong_bytes_lead_to_the_next_place(file_server, both):
    file_server.add("/m.pt", b"\x80 other weights")
    file_server.add("/o/r/resolve/main/old.bin", COPY)
    assert both.fetch().read_bytes() == COPY


def test_no_place_delivers(file_server, both):
    file_server.add("/m.pt", b"<html>moved</html>")
    with pytest.raises(FileNotFoundError) as error:
        both.fetch()
    message = str(error.value)
    assert message.startswith(f"ViT is not on this disk (looked at {both.places[0].path}, ") and "\n" not in message
    assert f"{file_server.url}/m.pt: the server sends a web page, not the file" in message
    assert "/o/r/resolve/main/new.safetensors: HTTP 404: the server has no such file" in message
    assert f"put the file at {both.places[0].path}, or set MASQCLIP_CACHE" in message


def test_offline_all_places_are_named_and_nothing_is_asked(file_server, both, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE forbids downloads") as error:
        both.fetch()
    for path in (
        both.places[0].path,
        both.places[1].path.parent,
        tmp_path / "iopath",
        tmp_path / "huggingface" / "models--o--r",
    ):
        assert str(path) in str(error.value)
    assert file_server.requests == []
    put(both.places[1].path, b"\x02" + bytes(7) + b"{}")
    assert both.fetch() == both.places[1].path


def test_an_unreachable_host_is_asked_once_and_quickly(own_cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", UNREACHABLE)
    file = WeightFile("x", tuple(place_of(f"hf://o/r/{name}") for name in ("a.safetensors", "b.bin", "c.pt")))
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        file.fetch()
    assert time.monotonic() - start < 3
    assert str(error.value).count("refuses the connection") == 1


def test_a_file_that_was_put_there_by_hand(both, capsys):
    path = put(both.places[0].path)
    assert both.find() == path
    path.write_bytes(b"\x80 another model")
    with pytest.raises(ValueError, match=r"is damaged or another file.*`masqclip download --again ViT` replaces it"):
        both.find()
    assert path.exists()


def test_the_cache_of_huggingface_hub(file_server, both, tmp_path):
    repo = tmp_path / "huggingface" / "models--o--r"
    put(repo / "refs" / "main", b"1234")
    path = put(repo / "snapshots" / "1234" / "old.bin")
    assert both.find() == path and both.fetch() == path and file_server.requests == []
    path.write_bytes(b"<html>")
    assert both.find() is None, "files of other programs that are not usable count as missing"


def test_the_cache_of_detectron2(file_server, tmp_path):
    path = put(tmp_path / "iopath" / "detectron2" / "a" / "m.pkl", b"\x80.")
    assert WeightFile.of("detectron2://a/m.pkl").fetch() == path


def test_size_on_the_server(file_server, both):
    with pytest.raises(PlaceError, match=r"m.pt: HTTP 404.*new.safetensors: HTTP 404.*old.bin: HTTP 404"):
        both.size_on_server()
    file_server.add("/o/r/resolve/main/old.bin", COPY)
    assert both.size_on_server() == len(COPY)
    file_server.add("/m.pt", CONTENT, ranges=False)
    assert both.size_on_server() == len(CONTENT)
    file_server.add("/m.pt", CONTENT, ranges=False, chunked=True)
    assert both.size_on_server() is None


def test_a_cache_that_is_not_writable_ends_the_search(file_server, both, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MASQCLIP_CACHE", str(tmp_path / "file" / "cache"))
    file_server.add("/m.pt", CONTENT)
    with pytest.raises(FileNotFoundError, match=r"ViT could not be stored: .*file/cache/.* is not writable"):
        both.fetch()
