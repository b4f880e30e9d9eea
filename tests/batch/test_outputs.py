from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masqclip_d2 import Vocabulary
from masqclip_d2.batch.outputs import create_folders, target_paths, write_result
from masqclip_d2.results import Segmentation


def test_output_is_a_folder_or_one_file(tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    assert target_paths([a], "x.png") == [type(a)("x.png")]
    assert [str(path) for path in target_paths([a, b], "out")] == ["out/a.png", "out/b.png"]
    with pytest.raises(ValueError, match="one file"):
        target_paths([a, b], "x.png")
    with pytest.raises(ValueError, match=r"a\.png"):
        target_paths([a, tmp_path / "sub" / "a.jpg"], "out")
    with pytest.raises(ValueError, match=r"written to a_labels\.png in out"):
        target_paths([a, tmp_path / "a_labels.jpg"], "out")


@pytest.mark.parametrize(
    ("inputs", "output"),
    [(["a.png", "b.jpg"], "."), (["a.png"], "a.png"), (["a_labels.png"], "a.jpg"), (["sub/../a.png"], "linked")],
)
def test_inputs_are_not_overwritten(tmp_path, monkeypatch, inputs, output):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"would overwrite the input \S*a\S*\.png; pass another --output"):
        target_paths([Path(name) for name in inputs], output)


def test_folders_of_the_output_are_created_before_anything_else(tmp_path, monkeypatch):
    create_folders([tmp_path / "new/sub/a.png"])
    assert (tmp_path / "new/sub").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be created: Not a directory"):
        create_folders([tmp_path / "file/sub/a.png"])
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ValueError, match="is not writable"):
        create_folders([tmp_path / "new/a.png"])


def test_a_result_survives_a_later_one_that_cannot_be_written(tmp_path, monkeypatch):
    result = Segmentation(np.zeros((8, 8, 3), np.uint8), Vocabulary.from_names("cat"), "panoptic")
    write_result(result, tmp_path / "in.png", tmp_path / "out.png")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full_disk(image, file, **_):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_result(result, tmp_path / "in.png", tmp_path / "out.png")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_pictures_are_written_by_a_fast_level(tmp_path):
    """The first bytes of the compressed data tell the level: 0x78 0x01 is the fastest."""
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    result = Segmentation(image, Vocabulary.from_names("cat"), "panoptic")
    write_result(result, tmp_path / "in.png", tmp_path / "out.png")
    for name in ("out.png", "out_labels.png"):
        content = (tmp_path / name).read_bytes()
        start = content.index(b"IDAT") + 4
        assert content[start : start + 2] == b"\x78\x01", name
