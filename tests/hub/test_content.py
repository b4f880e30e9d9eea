"""Files that are no weights, or not all of them."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from masqclip_d2.hub.content import content_problem


def write(path):
    tensors = {"a": torch.arange(5.0), "b": torch.ones(2, 3)}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": {name: np.asarray(value) for name, value in tensors.items()}}))
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("name", ["m.pth", "m.bin", "m.pkl", "m.safetensors"])
def test_complete_and_truncated_files(tmp_path, name):
    path = write(tmp_path / name)
    assert content_problem(path) == ""
    content = path.read_bytes()
    for length in (len(content) - 1, len(content) // 3, 5):
        path.write_bytes(content[:length])
        assert "truncated" in content_problem(path) or "not in the format" in content_problem(path)


def test_safetensors_without_tensors(tmp_path):
    save_file({}, tmp_path / "m.safetensors")
    assert content_problem(tmp_path / "m.safetensors") == ""


def test_a_file_of_another_format_by_its_suffix(tmp_path):
    path = write(tmp_path / "m.pth").rename(tmp_path / "m.partial")
    assert content_problem(path, ".pth") == ""
    assert "not in the format safetensors" in content_problem(path, ".safetensors")


def test_pytorch_files_of_the_older_format(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "m.pth", _use_new_zipfile_serialization=False)
    assert content_problem(tmp_path / "m.pth") == ""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n  <html lang=en>", "a web page"),
        (b"\xef\xbb\xbf<HTML>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "a pointer of Git LFS"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pkl", ""])
def test_no_weights_at_all(tmp_path, content, problem, suffix):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    assert problem in content_problem(path)
