import errno
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.files import (
    atomic_folder,
    atomic_write,
    expand_home,
    link_or_copy,
    save_image,
    save_json,
    save_text,
    zip_entries,
)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "labels.json"
    save_json(path, [1])
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match="a.txt"), atomic_write(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "ending, dtype, mode", [(".png", np.uint8, "L"), (".tif", np.uint16, "I;16"), (".jpg", np.uint8, "L")]
)
def test_pictures_by_their_ending(tmp_path, ending, dtype, mode):
    path = tmp_path / "folder" / f"picture{ending}"
    save_image(path, np.full((2, 3), 200, dtype=dtype))
    with Image.open(path) as image:
        assert (image.mode, image.size) == (mode, (3, 2))
        assert int(np.asarray(image)[0, 0]) == 200


def test_links_where_possible_else_copies(tmp_path, monkeypatch):
    source = tmp_path / "a.jpg"
    source.write_bytes(b"picture")
    link_or_copy(source, tmp_path / "out" / "linked.jpg")
    assert (tmp_path / "out" / "linked.jpg").samefile(source)

    def refuse(*_):
        raise OSError("other file system")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, tmp_path / "out" / "copied.jpg")
    copied = tmp_path / "out" / "copied.jpg"
    assert copied.read_bytes() == b"picture" and not copied.samefile(source)


def test_text_replaces_the_old_file_and_leaves_no_temporary_one(tmp_path):
    save_text(tmp_path / "new" / "a.txt", "one")
    save_text(tmp_path / "new" / "a.txt", "two")
    assert [(file.name, file.read_text()) for file in (tmp_path / "new").iterdir()] == [("a.txt", "two")]


def test_a_missing_home_is_said(monkeypatch):
    def missing(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", missing)
    with pytest.raises(FileNotFoundError, match="There is no home folder for '~/masks'"):
        expand_home("~/masks")


def test_zip_archives_are_listed_and_damaged_ones_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_text("no archive")
    assert zip_entries(path) is None
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one", b"")
    assert [entry.filename for entry in zip_entries(path)] == ["one"]
    end = path.read_bytes()[-22:]
    locator = b"PK\x06\x07" + bytes(12) + (2).to_bytes(4, "little")  # the second of two disks
    path.write_bytes(bytes(100) + locator + end)
    with pytest.raises(ValueError, match="a.zip is a damaged zip archive .*multiple disks"):
        zip_entries(path)


def test_folders_appear_when_they_are_complete(tmp_path):
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "a") as folder:
            (folder / "file").write_text(content)
            assert not (tmp_path / "a").exists() or content == "new"
    with pytest.raises(KeyError), atomic_folder(tmp_path / "a") as folder:
        raise KeyError
    with atomic_folder(tmp_path / "a", replace=False) as folder:
        (folder / "file").write_text("late")
    assert (tmp_path / "a" / "file").read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["a"]
