"""Downloads: interrupted and resumed, damaged, shared by processes, without space; good files are never lost."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from masqclip_d2.hub import PlaceError, place_of, transfer
from masqclip_d2.hub.records import read_record, record_path
from masqclip_d2.hub.transfer import StorageError, download, format_size

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"\x80" + bytes(range(256)) * 8000  # 2 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
THIRD = len(CONTENT) // 3
# Interpreters start quickly without Detectron2: the package `hub` needs nothing else of masqclip_d2.
PRELUDE = """
import sys, types
package = types.ModuleType("masqclip_d2")
package.__path__ = [{package!r}]
sys.modules["masqclip_d2"] = package
from masqclip_d2.hub.places import place_of
from masqclip_d2.hub.transfer import download
print(download(place_of(sys.argv[1])))
"""


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.01, 0.01))


def start_process(url: str) -> subprocess.Popen:
    code = PRELUDE.format(package=str(ROOT / "masqclip_d2"))
    words = [sys.executable, "-c", code, url]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_download_and_its_line(file_server, capsys):
    place = place_of(file_server.add("/d/m.pth", CONTENT), SHA256)
    path = download(place)
    assert path == place.path and path.read_bytes() == CONTENT
    assert files_in(path.parent) == {"m.pth", "m.pth.record.json"}
    assert read_record(path)["sha256"] == SHA256
    assert capsys.readouterr().err == f"Downloading m.pth (2.0 MB) from {place.host} to {path.parent}\n"
    download(place)
    assert len(file_server.requests) == 1


def test_progress_on_a_terminal(file_server, capsys, monkeypatch):
    place = place_of(file_server.add("/d/m.pth", CONTENT), SHA256)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    download(place)
    bar = capsys.readouterr().err.split("\r")[-1]
    assert "m.pth: 100%" in bar and "2.05M/2.05M" in bar and "B/s" in bar


def test_an_unknown_sha256_is_recorded_and_said(file_server, capsys):
    path = download(place_of(file_server.add("/m.pth", CONTENT)))
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"{path}: sha256 {SHA256} recorded; none is published to compare it with."
    )


def test_the_sha256_that_the_hub_states_is_compared(file_server, capsys):
    file_server.add("/o/r/resolve/main/m.pth", CONTENT, headers={"X-Linked-Etag": f'"{SHA256}"'})
    file_server.add("/o/r/resolve/main/n.pth", redirect="/o/r/resolve/main/m.pth", headers={"X-Linked-Etag": "f" * 64})
    with pytest.raises(PlaceError, match=f"its sha256 is {SHA256}, expected {'f' * 64}"):
        download(place_of("hf://o/r/n.pth"))
    path = download(place_of("hf://o/r/m.pth"))
    assert path.read_bytes() == CONTENT


def test_a_connection_that_breaks_is_resumed(file_server):
    place = place_of(file_server.add("/m.pth", CONTENT, ends_after=THIRD, failures=2), SHA256)
    assert download(place).read_bytes() == CONTENT
    assert file_server.ranges() == ["", f"bytes={THIRD}-", f"bytes={2 * THIRD}-"]
    assert file_server.sent == len(CONTENT)


def test_a_file_of_unknown_size_is_resumed_too(file_server):
    place = place_of(file_server.add("/m.pth", CONTENT, ends_after=THIRD, failures=1, chunked=True), SHA256)
    assert download(place).read_bytes() == CONTENT
    assert file_server.ranges() == ["", f"bytes={THIRD}-"] and file_server.sent == len(CONTENT)


def test_a_server_without_ranges_starts_over(file_server):
    place = place_of(file_server.add("/m.pth", CONTENT, ends_after=THIRD, failures=1, ranges=False), SHA256)
    assert download(place).read_bytes() == CONTENT
    assert file_server.sent == THIRD + len(CONTENT)


@pytest.mark.parametrize("ranges", [False, True])
def test_a_server_that_always_truncates(file_server, ranges):
    """With ranges every connection brings one byte more, without them always the same third."""
    url = file_server.add("/m.pth", CONTENT[:40] if ranges else CONTENT, ends_after=1 if ranges else THIRD)
    file_server.files["/m.pth"].ranges = ranges
    if ranges:
        assert download(place_of(url)).read_bytes() == CONTENT[:40] and len(file_server.requests) == 40
        return
    with pytest.raises(PlaceError, match=f"the connection ended after {THIRD} of {len(CONTENT)} bytes"):
        download(place_of(url))
    assert not place_of(url).path.exists() and len(file_server.requests) == 4


def test_a_process_killed_at_30_percent_is_resumed_by_another(file_server):
    url = file_server.add("/m.pth", CONTENT, pause=0.1)
    place = place_of(url)
    partial = place.path.with_name("m.pth.partial")
    process = start_process(url)
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 0.3 * len(CONTENT)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    present = partial.stat().st_size
    assert not place.path.exists() and present < len(CONTENT)
    file_server.files["/m.pth"].pause = 0
    file_server.requests.clear()
    assert download(place_of(url, SHA256)).read_bytes() == CONTENT
    assert file_server.ranges() == [f"bytes={present}-"]
    assert files_in(place.path.parent) == {"m.pth", "m.pth.record.json"}


def test_two_processes_share_one_download(file_server):
    url = file_server.add("/m.pth", CONTENT, pause=1.0)
    first = start_process(url)
    assert first.stderr.readline().startswith("Downloading m.pth (2.0 MB) from ")
    second = start_process(url)
    assert second.stderr.readline() == "Waiting for another process that downloads m.pth\n"
    file_server.files["/m.pth"].pause = 0
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert outputs == [f"{place_of(url).path}\n"] * 2 and first.returncode == second.returncode == 0
    assert len(file_server.requests) == 1 and file_server.sent == len(CONTENT)


def test_a_file_that_changes_between_two_attempts_starts_over(file_server):
    url = file_server.add("/m.pth", CONTENT, ends_after=THIRD)
    with pytest.raises(PlaceError):
        file_server.files["/m.pth"].ranges = False
        download(place_of(url))
    newer = b"\x80" + bytes(len(CONTENT))
    file_server.add("/m.pth", newer)
    assert download(place_of(url)).read_bytes() == newer


def test_a_changed_file_of_a_server_without_if_range(file_server):
    url = file_server.add("/m.pth", CONTENT, ends_after=THIRD, headers={"ETag": 'W/"1"'}, ranges=False)
    with pytest.raises(PlaceError):
        download(place_of(url))
    newer = b"\x80" + bytes(len(CONTENT) - 1)
    file_server.add("/m.pth", newer, headers={"ETag": 'W/"2"'})
    assert download(place_of(url)).read_bytes() == newer


def test_a_damaged_partial_file_is_downloaded_anew(file_server):
    url = file_server.add("/m.pth", CONTENT, ends_after=THIRD, ranges=False)
    with pytest.raises(PlaceError):
        download(place_of(url))
    partial = place_of(url).path.with_name("m.pth.partial")
    partial.write_bytes(bytes(THIRD))
    file_server.add("/m.pth", CONTENT)
    assert download(place_of(url, SHA256)).read_bytes() == CONTENT


@pytest.mark.parametrize("facts", ["", "{}", '{"url": "http://other/m.pth", "size": 9, "etag": "", "sha256": ""}'])
def test_a_partial_file_of_unknown_origin_is_not_used(file_server, facts):
    place = place_of(file_server.add("/m.pth", CONTENT))
    place.path.parent.mkdir(parents=True)
    place.path.with_name("m.pth.partial").write_bytes(b"other")
    place.path.with_name("m.pth.partial.json").write_text(facts)
    assert download(place).read_bytes() == CONTENT


def test_a_partial_file_that_is_longer_than_the_file(file_server):
    place = place_of(file_server.add("/m.pth", CONTENT))
    place.path.parent.mkdir(parents=True)
    place.path.with_name("m.pth.partial").write_bytes(bytes(len(CONTENT) + 5))
    facts = {"url": place.url, "size": None, "etag": "", "sha256": ""}
    place.path.with_name("m.pth.partial.json").write_text(json.dumps(facts))
    assert download(place).read_bytes() == CONTENT
    assert file_server.ranges() == [f"bytes={len(CONTENT) + 5}-", ""]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CONTENT[:-1] + b"?", "is damaged or another file: its sha256 is"),
        (b"<html>sorry</html>", "a web page"),
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
def test_wrong_bytes_are_not_kept(file_server, content, reason):
    place = place_of(file_server.add("/d/m.pth", content), SHA256)
    with pytest.raises(PlaceError, match=reason):
        download(place)
    assert files_in(place.path.parent) == set()


def test_a_truncated_file_of_a_server_that_does_not_state_the_size(file_server, tmp_path):
    import torch

    torch.save({"a": torch.ones(100)}, tmp_path / "m.pth")
    content = (tmp_path / "m.pth").read_bytes()
    place = place_of(file_server.add("/m.pth", content[:-100], chunked=True))
    with pytest.raises(PlaceError, match="of what arrived: it is truncated"):
        download(place)
    assert files_in(place.path.parent) == set()


@pytest.mark.parametrize("problem", ["wrong bytes", "404", "truncated", "page"])
def test_an_existing_file_survives_a_download_that_fails(file_server, problem):
    place = place_of(file_server.add("/m.pth", CONTENT), SHA256)
    path = download(place)
    served = {
        "wrong bytes": {"content": b"\x80 other"},
        "404": {"status": 404},
        "truncated": {"content": CONTENT, "ends_after": THIRD, "ranges": False},
        "page": {"content": b"<html>"},
    }
    file_server.add("/m.pth", **served[problem])
    with pytest.raises(PlaceError):
        download(place, again=True)
    assert path.read_bytes() == CONTENT and read_record(path)["sha256"] == SHA256
    file_server.add("/m.pth", b"\x80 newer")
    download(place_of(place.source), again=True)
    assert path.read_bytes() == b"\x80 newer"


def test_no_space_is_found_before_the_download(file_server, monkeypatch):
    place = place_of(file_server.add("/m.pth", CONTENT))
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: SimpleNamespace(free=2_000_000))
    with pytest.raises(StorageError, match=r"m.pth needs 3.1 MB, but only 2.0 MB are free in .*set MASQCLIP_CACHE"):
        download(place)
    assert not place.path.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_the_disk_fills_during_the_download(file_server):
    place = place_of(file_server.add("/m.pth", CONTENT))
    place.path.parent.mkdir(parents=True)
    place.path.with_name("m.pth.partial").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="no space is left in"):
        download(place)
    assert not place.path.exists() and not record_path(place.path).exists()


def test_a_cache_that_is_not_writable(file_server, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MASQCLIP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match=r"is not writable \(Not a directory\); set MASQCLIP_CACHE to a folder"):
        download(place_of(file_server.add("/m.pth", CONTENT)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(file_server, monkeypatch, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="is not writable"):
        download(place_of(file_server.add("/m.pth", CONTENT)))
    tmp_path.chmod(0o700)


def test_a_file_system_without_locks(file_server, monkeypatch):
    import filelock

    def refuse(self, *arguments, **options):
        raise NotImplementedError("FileSystem does not appear to support flock; use SoftFileLock instead")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert download(place_of(file_server.add("/m.pth", CONTENT))).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 bytes"), (1200, "1.2 kB"), (890_400_000, "890.4 MB"), (1_710_000_000, "1.71 GB")]
)
def test_sizes(size, text):
    assert format_size(size) == text
