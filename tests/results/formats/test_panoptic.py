"""COCO's panoptic format, read back by the reader of this project."""

import json

import numpy as np

from masqclip_d2.data.label_maps import LabelledImage
from masqclip_d2.data.panoptic_labels import read_panoptic_labels
from masqclip_d2.results.formats.panoptic import panoptic_labels
from tests.results.example import HW, VOCABULARY, example


def test_the_reader_of_panoptic_files_finds_the_segments(tmp_path):
    written = example().save(tmp_path, "panoptic", stem="a", image_name="a.jpg")
    assert written == [tmp_path / "panoptic/a.png", tmp_path / "a_panoptic.json"]
    content = json.loads((tmp_path / "a_panoptic.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "a.jpg", "height": HW[0], "width": HW[1]}]
    assert [(one["id"], one["name"], one["isthing"]) for one in content["categories"]] == [
        (1, "cat", 1), (2, "dog", 1), (3, "grass & <sky>", 0),
    ]  # fmt: skip
    [annotation] = content["annotations"]
    assert annotation["image_id"] == 1 and annotation["file_name"] == "a.png"
    labels = read_panoptic_labels(
        tmp_path / "panoptic" / annotation["file_name"], annotation["segments_info"], LabelledImage(HW)
    )
    assert not labels.absent and not labels.unlisted and len(labels.segments) == 3
    for info in labels.segments:
        mask = labels.ids == info["id"]
        assert info["area"] == mask.sum() and info["iscrowd"] == 0
        assert example()[info["id"] - 1].category_id + 1 == info["category_id"]


def test_the_best_score_has_pixels_of_several_segments():
    ids, info = panoptic_labels(example())
    assert np.array_equal(ids == 2, example()[1].mask)
    assert [one["area"] for one in info] == [350, 200, 600]
    hidden = example()
    hidden.segments[2].mask = example()[1].mask
    assert [one["id"] for one in panoptic_labels(hidden)[1]] == [1, 2]
    assert len(VOCABULARY) == 3
