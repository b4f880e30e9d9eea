import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masqclip_d2 import Vocabulary
from masqclip_d2.segment_files import create_folders, find_images, segment_files, target_paths, write_result
from masqclip_d2.segmentation import RejectedRegion, Segment, Segmentation


def test_inputs_are_files_folders_and_globs(tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt", "._a.jpg", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()  # no image
    assert [path.name for path in find_images([str(tmp_path)])] == ["a.jpg", "b.png"]
    assert [path.name for path in find_images([str(tmp_path / "*.png")])] == ["b.png"]
    missing = str(tmp_path / "missing.png")
    assert find_images([missing, str(tmp_path)])[0].name == "missing.png"  # reported when it is read
    with pytest.raises(FileNotFoundError, match=r"There is no image \S+missing.png, \S+missing.png\."):
        find_images([missing, missing])
    with pytest.raises(FileNotFoundError, match="No images match"):
        find_images([str(tmp_path / "*.gif")])


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


@pytest.mark.parametrize("error", [MemoryError("No memory is left."), OSError("disk full"), ValueError("damaged")])
def test_the_others_are_done_whatever_fails(tmp_path, capsys, error):
    images = [tmp_path / f"{index}.png" for index in range(13)]

    def predictor(path, vocabulary, task, confidence_threshold):
        if path.stem != "5":
            raise error
        return Segmentation(np.zeros((8, 8, 3), np.uint8), vocabulary, task)

    targets = target_paths(images, str(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"12 of 13 images failed: .*10\.png and 2 more\. The others are done"):
        segment_files(predictor, images, targets, Vocabulary.from_names("cat"))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    name = type(error).__name__  # the predictor of this test is the user's code
    assert lines == [f"error: {image}: {name}: {error}" for image in images if image.stem != "5"]
    assert (tmp_path / "out" / "5.json").is_file()


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


@pytest.mark.parametrize(
    ("names", "expected"),
    [("dog,cat", "0 segments (none of dog, cat was found)"), (",".join("abcdefghijklm"), "i, j and 3 more was found)")],
)
def test_words_that_were_asked_for_are_printed_when_none_is_found(tmp_path, capsys, names, expected):
    image = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(image)

    def predictor(path, vocabulary, task, confidence_threshold):
        return Segmentation(np.zeros((8, 8, 3), np.uint8), vocabulary, task)

    segment_files(predictor, [image], [tmp_path / "out.png"], Vocabulary.from_names(names))
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("threshold", "drawn", "line"),
    [
        (None, 1, "1 segments (dog); 1 more with lower scores are in the JSON file only"),
        (0.0, 2, "2 segments (dog)"),
        (0.9, 0, "0 segments (none of dog was found); 2 with lower scores are in the JSON file only"),
    ],
)
def test_weak_instances_are_in_the_file_only_and_what_was_rejected_is_printed(
    tmp_path, capsys, monkeypatch, threshold, drawn, line
):
    image = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(image)
    counts = []
    monkeypatch.setattr(Segmentation, "draw", lambda self, min_score: _count(counts, self.drawn_segments(min_score)))

    def predictor(path, vocabulary, task, confidence_threshold, unknown_threshold):
        assert unknown_threshold == 0.4 and confidence_threshold == (threshold or 0.0)
        segments = [Segment("dog", 0, True, score, np.ones((8, 8), bool)) for score in (0.8, 0.2)]
        rejected = [
            RejectedRegion(name, 0.5, area, (0, 0, 1, 1)) for name, area in (("sky", 3), ("sea", 5), ("sky", 1))
        ]
        return Segmentation(np.zeros((8, 8, 3), np.uint8), vocabulary, task, segments, rejected)

    options = {"unknown_threshold": 0.4}
    vocabulary = Vocabulary.from_names("dog")
    segment_files(predictor, [image], [tmp_path / "out.png"], vocabulary, "instance", threshold, **options)
    assert f"{line}; without a label: sea, sky\n" in capsys.readouterr().out
    assert counts == [drawn] and len(json.loads((tmp_path / "out.json").read_text())["segments"]) == 2


def _count(counts, segments):
    counts.append(len(segments))
    return np.zeros((8, 8, 3), np.uint8)


def test_pictures_are_written_by_a_fast_level(tmp_path):
    """The first bytes of the compressed data tell the level: 0x78 0x01 is the fastest."""
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    result = Segmentation(image, Vocabulary.from_names("cat"), "panoptic")
    write_result(result, tmp_path / "in.png", tmp_path / "out.png")
    for name in ("out.png", "out_labels.png"):
        content = (tmp_path / name).read_bytes()
        start = content.index(b"IDAT") + 4
        assert content[start : start + 2] == b"\x78\x01", name
