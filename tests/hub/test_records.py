"""sha256 of stored files: recorded at first use, compared afterwards."""

import hashlib
import os

import pytest

from masqclip_d2.hub import records
from masqclip_d2.hub.records import check_stored, read_record, record_path

CONTENT = b"\x80 some weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "m.pth"
    path.write_bytes(CONTENT)
    return path


def test_recorded_at_first_use_and_said_once(stored, capsys):
    check_stored(stored, "hf://o/r/m.pth")
    record = read_record(stored)
    assert (record["sha256"], record["size"], record["source"]) == (SHA256, len(CONTENT), "hf://o/r/m.pth")
    assert capsys.readouterr().err == f"{stored}: sha256 {SHA256} recorded; none is published to compare it with.\n"
    check_stored(stored, "hf://o/r/m.pth")
    assert capsys.readouterr().err == ""


def test_nothing_is_said_where_the_sha256_is_published(stored, capsys):
    check_stored(stored, "x", SHA256[:8])
    assert read_record(stored)["sha256"] == SHA256 and capsys.readouterr().err == ""


def test_the_sha256_is_computed_once(stored, monkeypatch):
    check_stored(stored, "x")
    monkeypatch.setattr(records, "sha256_of", lambda path: pytest.fail("was read again"))
    check_stored(stored, "x")
    check_stored(stored, "x", SHA256)


def test_a_changed_file_is_refused_and_left(stored):
    check_stored(stored, "hf://o/r/m.pth")
    stored.write_bytes(CONTENT + b"!")
    with pytest.raises(ValueError, match=r"was changed since.*`masqclip download --again hf://o/r/m.pth` replaces it"):
        check_stored(stored, "hf://o/r/m.pth")
    assert stored.read_bytes() == CONTENT + b"!" and read_record(stored)["sha256"] == SHA256
    record_path(stored).unlink()  # as the message says
    check_stored(stored, "hf://o/r/m.pth")


def test_a_change_that_keeps_size_and_time_is_found_by_a_thorough_check(stored):
    check_stored(stored, "x")
    status = stored.stat()
    stored.write_bytes(CONTENT[:-1] + b"!")
    os.utime(stored, ns=(status.st_atime_ns, status.st_mtime_ns))
    check_stored(stored, "x")
    with pytest.raises(ValueError, match="was changed since"):
        check_stored(stored, "x", thorough=True)


def test_a_copied_file_with_another_time_is_the_same_file(stored):
    check_stored(stored, "x")
    os.utime(stored, (1, 1))
    check_stored(stored, "x")
    assert read_record(stored)["mtime_ns"] == 10**9


def test_another_file_than_the_published_one(stored):
    with pytest.raises(ValueError, match=f"is damaged or another file: its sha256 is {SHA256}, expected 1234"):
        check_stored(stored, "x", "1234")
    assert stored.exists() and not record_path(stored).exists()


def test_a_web_page_saved_by_hand(stored):
    stored.write_bytes(b"<!doctype html>")
    with pytest.raises(ValueError, match="m.pth is not usable: it is a web page"):
        check_stored(stored, "x")


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"sha256": 1}'])
def test_a_damaged_record_counts_as_none(stored, content, capsys):
    record_path(stored).write_text(content)
    check_stored(stored, "x")
    assert read_record(stored)["sha256"] == SHA256 and "recorded" in capsys.readouterr().err


def test_a_record_that_cannot_be_written(stored, monkeypatch, capsys):
    def refuse(*arguments):
        raise PermissionError("read-only")

    monkeypatch.setattr(records, "save_text", refuse)
    check_stored(stored, "x")
    assert read_record(stored) == {} and capsys.readouterr().err == ""


def test_a_folder_that_is_not_writable(stored, monkeypatch):
    monkeypatch.setattr(records.os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="expected 1234"):
        check_stored(stored, "x", "1234")
    monkeypatch.setattr(records, "sha256_of", lambda path: pytest.fail("was read in vain"))
    check_stored(stored, "x")
