"""Weight files are written atomically, without shared storage, with the permissions of the user's umask."""

import os

import pytest
import torch
from safetensors import SafetensorError, safe_open

from masqclip_d2.checkpoint import read_checkpoint, write_safetensors


@pytest.fixture
def umask():
    """Members of the group may read, others may not."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_permissions_are_those_of_the_umask(tmp_path, umask):
    write_safetensors(tmp_path / "new" / "a.safetensors", {"x": torch.ones(2)})
    assert (tmp_path / "new" / "a.safetensors").stat().st_mode & 0o777 == 0o640
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_tensors_may_share_storage_and_metadata_is_written(tmp_path):
    path, rows = tmp_path / "a.safetensors", torch.arange(6.0).view(2, 3)
    write_safetensors(path, {"all": rows, "turned": rows.T, "half": rows[:1].half()}, {"made": "here"})
    found = read_checkpoint(path)["model"]
    assert torch.equal(found["all"], rows) and torch.equal(found["turned"], rows.T)
    assert found["half"].dtype == torch.float16
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"made": "here"}


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.safetensors, got .*a\.pth"):
        write_safetensors(tmp_path / "a.pth", {})


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="a.safetensors cannot be written: I/O error: No space left on device. Free some"):
        write_safetensors(tmp_path / "a.safetensors", {})
    assert list(tmp_path.iterdir()) == []
