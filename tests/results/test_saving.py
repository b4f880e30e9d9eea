"""Files of one result."""

import json

import numpy as np
import pytest

from masqclip_d2.coco_masks import from_segmentation
from masqclip_d2.results import Segment, Segmentation
from masqclip_d2.results.formats import FORMATS, find_formats
from masqclip_d2.vocabulary import Vocabulary
from tests.results.example import example

ALL = [name for name in FORMATS if name != "parquet"]  # which needs an extra


def test_every_format_writes_what_it_names(tmp_path):
    written = example().save(tmp_path / "new", ALL, stem="a", image_name="a.jpg")
    assert all(path.exists() for path in written) and len(written) == len(set(written))
    names = {str(path.relative_to(tmp_path / "new")) for path in written}
    assert names == {
        "a.png", "a_labels.png", "a.json", "a_coco.json", "a_coco_rle.json", "panoptic/a.png", "a_panoptic.json",
        "yolo/labels/train/a.txt", "yolo/data.yaml", "labelme/a.json", "a_segments",
    }  # fmt: skip


def test_without_formats_visualization_labels_and_json_are_written(tmp_path):
    written = example().save(str(tmp_path), stem="a")
    assert [path.name for path in written] == ["a.png", "a_labels.png", "a.json"]
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["visualization"].endswith("a.png") and content["label_map"].endswith("a_labels.png")


def test_weak_instances_are_in_the_json_file_only(tmp_path):
    example("instance").save(tmp_path, "json,coco", stem="a")
    assert len(json.loads((tmp_path / "a.json").read_text())["segments"]) == 3
    assert len(json.loads((tmp_path / "a_coco.json").read_text())["annotations"]) == 2
    example("instance").save(tmp_path, "coco", stem="a", min_score=0.1)
    assert len(json.loads((tmp_path / "a_coco.json").read_text())["annotations"]) == 3


@pytest.mark.parametrize("stem", ["", "..", "a/b", "a\\b"])
def test_stems_are_names_of_files(tmp_path, stem):
    with pytest.raises(ValueError, match="expected the name of a file"):
        example().save(tmp_path, stem=stem)


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be created: Not a directory"):
        example().save(tmp_path / "file" / "sub")


@pytest.mark.parametrize(
    ("names", "message"), [("coco,yollo", "no format 'yollo'; formats are overlay, labels"), ("", "No format")]
)
def test_unknown_formats(names, message):
    with pytest.raises(ValueError, match=message):
        find_formats(names)
    assert [one.name for one in find_formats("yolo, coco,yolo")] == ["yolo", "coco"]


def test_ten_thousand_categories_emoji_and_a_name_of_300_words(tmp_path):
    names = ["\U0001f600", "word " * 299 + "word", *(f"category {number}" for number in range(9998))]
    vocabulary = Vocabulary(tuple(names), (True,) * 10_000)
    mask = np.eye(12, dtype=bool)
    segments = [Segment(names[index], index, True, 0.5, mask) for index in (0, 1, 9999)]
    result = Segmentation(np.zeros((12, 12, 3), np.uint8), vocabulary, "panoptic", segments)
    result.save(tmp_path, ALL, stem="a")
    files = sorted(path.name for path in (tmp_path / "a_segments").iterdir())
    assert files[0] == "001_segment.png" and len(files[1]) < 60 and files[2] == "003_category_9997.png"
    content = json.loads((tmp_path / "a_coco.json").read_text())
    assert len(content["categories"]) == 10_000 and content["categories"][0]["name"] == "\U0001f600"
    found = [from_segmentation(one["segmentation"], (12, 12), "a") for one in content["annotations"]]
    assert all(np.array_equal(one, mask) for one in found)
    assert len(result._repr_html_()) < 1_000_000 and len(repr(result)) < 200


@pytest.mark.parametrize("hw", [(1, 1), (1, 300), (300, 1)])
def test_images_of_one_pixel_or_line(tmp_path, hw):
    vocabulary = Vocabulary.from_names("cat")
    segment = Segment("cat", 0, True, 0.5, np.ones(hw, dtype=bool))
    result = Segmentation(np.zeros((*hw, 3), np.uint8), vocabulary, "panoptic", [segment])
    assert all(path.exists() for path in result.save(tmp_path, ALL, stem="a"))
    assert result.to_coco()["annotations"][0]["area"] == hw[0] * hw[1]
