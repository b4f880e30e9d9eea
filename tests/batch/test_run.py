import json

import numpy as np
import pytest
from PIL import Image

from masqclip_d2 import Vocabulary
from masqclip_d2.batch.plan import plan_batch
from masqclip_d2.batch.run import segment_files
from masqclip_d2.results import RejectedRegion, Segment, Segmentation
from masqclip_d2.results.formats import DEFAULT_FORMATS, find_formats


def planned(images, output, formats=DEFAULT_FORMATS, resume=False):
    """A batch that has begun."""
    batch = plan_batch([str(image) for image in images], str(output), find_formats(formats))
    batch.begin({"task": "panoptic"}, resume)
    return batch


def model(predict):
    """A predictor that any vocabulary and settings suit."""
    predict.prepare = lambda vocabulary, **settings: vocabulary
    return predict


@model
def one_cat(path, vocabulary, task, confidence_threshold):
    """A predictor."""
    segment = Segment("cat", 0, True, 0.9, np.eye(8, dtype=bool))
    return Segmentation(np.zeros((8, 8, 3), np.uint8), vocabulary, task, [segment])


def some_images(folder, count):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(count)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    return paths


CAT = Vocabulary.from_names("cat")


@pytest.mark.parametrize("error", [MemoryError("No memory is left."), OSError("disk full"), ValueError("damaged")])
def test_the_others_are_done_whatever_fails(tmp_path, capsys, error):
    images = some_images(tmp_path / "in", 13)

    @model
    def predictor(path, vocabulary, task, confidence_threshold):
        if path.stem != "5":
            raise error
        return Segmentation(np.zeros((8, 8, 3), np.uint8), vocabulary, task)

    batch = planned(images, tmp_path / "out")
    with pytest.raises(ValueError, match=r"12 of 13 images failed: .*10\.png and 2 more\. The others are done"):
        segment_files(predictor, batch, CAT)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    name = type(error).__name__  # the predictor of this test is the user's code
    assert lines == [f"error: {image}: {name}: {error}" for image in images if image.stem != "5"]
    assert (tmp_path / "out" / "5.json").is_file()


@pytest.mark.parametrize(
    ("names", "expected"),
    [("dog,cat", "0 segments (none of dog, cat was found)"), (",".join("abcdefghijklm"), "i, j and 3 more was found)")],
)
def test_words_that_were_asked_for_are_printed_when_none_is_found(tmp_path, capsys, names, expected):
    image = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(image)

    @model
    def predictor(path, vocabulary, task, confidence_threshold):
        return Segmentation(np.zeros((8, 8, 3), np.uint8), vocabulary, task)

    segment_files(predictor, planned([image], tmp_path / "out.png"), Vocabulary.from_names(names))
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

    @model
    def predictor(path, vocabulary, task, confidence_threshold, unknown_threshold):
        assert unknown_threshold == 0.4 and confidence_threshold == (threshold or 0.0)
        segments = [Segment("dog", 0, True, score, np.ones((8, 8), bool)) for score in (0.8, 0.2)]
        rejected = [
            RejectedRegion(name, 0.5, area, (0, 0, 1, 1)) for name, area in (("sky", 3), ("sea", 5), ("sky", 1))
        ]
        return Segmentation(np.zeros((8, 8, 3), np.uint8), vocabulary, task, segments, rejected)

    options = {"unknown_threshold": 0.4}
    vocabulary = Vocabulary.from_names("dog")
    segment_files(predictor, planned([image], tmp_path / "out.png"), vocabulary, "instance", threshold, **options)
    assert f"{line}; without a label: sea, sky\n" in capsys.readouterr().out
    assert counts == [drawn] and len(json.loads((tmp_path / "out.json").read_text())["segments"]) == 2


def _count(counts, segments):
    counts.append(len(segments))
    return np.zeros((8, 8, 3), np.uint8)


def test_one_coco_file_for_all_images_without_those_that_fail(tmp_path, capsys):
    images = some_images(tmp_path / "in", 3)

    @model
    def predictor(path, *arguments, **settings):
        if path.stem == "1":
            raise ValueError("damaged")
        return one_cat(path, *arguments, **settings)

    batch = planned([tmp_path / "in"], tmp_path / "out", "coco,panoptic,yolo")
    with pytest.raises(ValueError, match="1 of 3 images failed"):
        segment_files(predictor, batch, CAT)
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [one["file_name"] for one in content["images"]] == ["0.png", "2.png"]
    assert [one["image_id"] for one in content["annotations"]] == [1, 2]
    assert len(json.loads((tmp_path / "out" / "panoptic.json").read_text())["annotations"]) == 2
    assert (tmp_path / "out" / "yolo" / "data.yaml").is_file()
    assert "coco.json: 2 images" in capsys.readouterr().out and len(images) == 3


def test_an_interrupted_run_is_resumed(tmp_path, capsys):
    images = some_images(tmp_path / "in", 4)
    seen = []

    @model
    def interrupted(path, *arguments, **settings):
        seen.append(path.stem)
        if path.stem == "2" and len(seen) == 3:
            raise KeyboardInterrupt
        return one_cat(path, *arguments, **settings)

    with pytest.raises(KeyboardInterrupt):
        segment_files(interrupted, planned(images, tmp_path / "out", "coco,labels"), CAT)
    assert "2 of 4 images are finished; --resume continues" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"0_labels.png", "1_labels.png"}
    segment_files(interrupted, planned(images, tmp_path / "out", "coco,labels", resume=True), CAT)
    assert seen == ["0", "1", "2", "2", "3"] and "2 of 4 images have results already" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [one["file_name"] for one in content["images"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert len(content["annotations"]) == 4
    segment_files(interrupted, planned(images, tmp_path / "out", "coco,labels"), CAT)  # all anew
    assert seen[5:] == ["0", "1", "2", "3"]
