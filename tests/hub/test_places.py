"""Sources of files: their addresses and their paths on this disk."""

from pathlib import Path, PurePosixPath

import pytest

from masqclip_d2.hub import cache_dir, is_offline, is_remote, place_of
from masqclip_d2.hub.http import open_place
from masqclip_d2.hub.places import HubFile


@pytest.mark.parametrize(
    ("source", "url", "cached_as"),
    [
        ("https://example.org/a/b.pth", "https://example.org/a/b.pth", "example.org/a/b.pth"),
        ("http://127.0.0.1:8000/b.pkl", "http://127.0.0.1:8000/b.pkl", "127.0.0.1_8000/b.pkl"),
        (
            "detectron2://ImageNetPretrained/R-50.pkl",
            "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/R-50.pkl",
            "dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/R-50.pkl",
        ),
        (
            "hf://timm/vit/open_clip_model.safetensors",
            "https://huggingface.co/timm/vit/resolve/main/open_clip_model.safetensors",
            "hf/timm/vit/main/open_clip_model.safetensors",
        ),
        (
            "hf://o/r/sub/m.pth@refs/pr/1",
            "https://huggingface.co/o/r/resolve/refs%2Fpr%2F1/sub/m.pth",
            "hf/o/r/refs--pr--1/sub/m.pth",
        ),
        ("http://h/a model-1.pth", "http://h/a%20model-1.pth", "h/a_model-1-8cd93265.pth"),
        ("hf://o/r@v2/m.pth", "https://huggingface.co/o/r/resolve/v2/m.pth", "hf/o/r/v2/m.pth"),
    ],
)
def test_address_and_path(source, url, cached_as, own_cache):
    place = place_of(source)
    assert is_remote(source)
    assert (place.source, place.url, place.cached_as) == (source, url, PurePosixPath(cached_as))
    assert place.path == own_cache / cached_as


def test_file_of_the_hub(monkeypatch):
    place = place_of("hf://owner/repo/a/b.bin@abc")
    assert place.hub_file == HubFile("owner/repo", "a/b.bin", "abc")
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example/")
    assert place_of("hf://o/r/f.pth").url == "http://mirror.example/o/r/resolve/main/f.pth"


def test_a_mirror_is_asked_for_every_file(file_server, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.setenv("MASQCLIP_MIRROR", f"{file_server.url}/weights/")
    monkeypatch.setenv("HF_TOKEN", "secret")
    for source, path in [
        ("https://h.example/a/m.pth", "/weights/h.example/a/m.pth"),
        ("hf://o/r/m.pth", "/weights/huggingface.co/o/r/resolve/main/m.pth"),
        ("detectron2://a/m.pkl", "/weights/dl.fbaipublicfiles.com/detectron2/a/m.pkl"),
    ]:
        place = place_of(source)
        file_server.add(path, b"\x80 weights")
        with open_place(place) as answer:
            assert b"".join(answer.chunks()) == b"\x80 weights"
        assert "weights" not in str(place.cached_as) and file_server.url not in place.url
        assert place.host == file_server.url.removeprefix("http://")
    assert not any("authorization" in headers for _, headers in file_server.requests), "the mirror is not the Hub"


@pytest.mark.parametrize(
    "source",
    ["hf://owner/repo", "hf://owner/repo/", "hf://owner//f", "hf://owner/repo/f@", "hf://o/r/../../f", "hf://o/../f"],
)
def test_incomplete_names_of_the_hub(source):
    with pytest.raises(ValueError, match=r"does not name a file of the Hugging Face Hub; expected hf://OWNER/REPO"):
        place_of(source)


@pytest.mark.parametrize("source", ["https://example.org", "https://example.org/a/", "https:///a", "http://u:p@h/f"])
def test_addresses_without_a_file(source):
    with pytest.raises(ValueError, match="is not the address of a file"):
        place_of(source)


@pytest.mark.parametrize("source", ["model.pth", "/a/b.pth", "masqclip://x", "s3://b/c", "hf:/o/r/f"])
def test_other_names_are_not_remote(source):
    assert not is_remote(source)
    with pytest.raises(ValueError, match="is no source of a file"):
        place_of(source)


def test_addresses_never_share_a_file_nor_leave_the_cache(own_cache):
    sources = [
        "https://h/d/model.pth",
        "https://h/d/model.pth?download=1",
        "https://h/d/model.pth?download=2",
        "https://h/d%2Fmodel.pth",
        "https://h/d:model.pth",
        "https://h/d_model.pth",
        "https://h/../../model.pth",
        "https://h/%2e%2e/%2E%2E/model.pth",
        "https://h/d/../model.pth",
        "https://other/d/model.pth",
        "hf://h/d/model.pth",
    ]
    paths = [place_of(source).path for source in sources]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert path.suffix == ".pth" and ".." not in path.parts and path.is_relative_to(own_cache)


def test_names_that_contain_the_sha256():
    assert place_of("https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth").sha256 == "bf2d0c1e"
    assert place_of("https://example.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth").sha256 == ""
    assert place_of("https://example.org/a.pth", "12ab").sha256 == "12ab"


def test_files_of_other_programs(monkeypatch, own_cache, tmp_path):
    of_zoo = place_of("detectron2://ImageNetPretrained/R-50.pkl").elsewhere
    assert of_zoo == (tmp_path / "iopath" / "detectron2" / "ImageNetPretrained" / "R-50.pkl",)
    of_torch = place_of("https://download.pytorch.org/models/m-bf2d0c1e.pth").elsewhere
    assert of_torch[-1] == tmp_path / "torch" / "hub" / "checkpoints" / "m-bf2d0c1e.pth"


def test_folder_of_the_cache(monkeypatch):
    monkeypatch.delenv("MASQCLIP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert cache_dir() == Path("here/masqclip_d2/weights")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "masqclip_d2" / "weights"
    monkeypatch.setenv("MASQCLIP_CACHE", "~/mine")
    assert cache_dir() == Path.home() / "mine"


def test_offline_variables(monkeypatch, own_cache):
    assert not is_offline()
    for name, value, expected in (("HF_HUB_OFFLINE", "1", True), ("HF_HUB_OFFLINE", "0", False)):
        monkeypatch.setenv(name, value)
        assert is_offline() is expected
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "true")
    assert is_offline()


def test_without_a_home_only_the_own_cache_is_searched(monkeypatch, tmp_path):
    def missing(self):
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "FVCORE_CACHE", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASQCLIP_CACHE", str(tmp_path))
    monkeypatch.setattr("pathlib.Path.expanduser", lambda self: self if self == tmp_path else missing(self))
    place = place_of("https://download.pytorch.org/models/resnet50-0676ba61.pth")
    assert place.path.is_relative_to(tmp_path) and place.elsewhere == ()
