"""PASCAL VOC 2012 from its published files to metrics; outputs are derived by hand from tests/original_formats."""

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from masqclip_d2.data.preparation import prepare
from masqclip_d2.data.registration import register_pascal_voc
from tests.original_formats import scores_of_the_ground_truth, write_pascal_voc, write_pixels

VAL = "2007_000033"
EXPECTED = {20: [[255, 0, 255], [19, 19, 255]], 21: [[0, 1, 255], [20, 20, 0]]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    write_pascal_voc(root)
    prepare("pascal_voc", root, num_workers=2, progress=False)
    register_pascal_voc(root, prefix="mini_")
    return root


@pytest.mark.parametrize("number", [20, 21])
def test_label_maps(root, number):
    with Image.open(root / "pascal_voc_d2" / f"annotations_pascal{number}" / "validation" / f"{VAL}.png") as image:
        assert image.mode == "L"
        assert np.asarray(image).tolist() == EXPECTED[number]


@pytest.mark.parametrize("number", [20, 21])
def test_the_ground_truth_scores_100(root, number):
    name = f"mini_pascal_voc_{number}_sem_seg_val"
    metadata = MetadataCatalog.get(name)
    assert metadata.stuff_classes[-1] == "tvmonitor" and len(metadata.stuff_classes) == number
    assert len(metadata.thing_classes) == 20
    scores = scores_of_the_ground_truth(name)
    assert scores["sem_seg"]["mIoU"] == scores["sem_seg"]["pACC"] == pytest.approx(100)
    assert ("IoU-background" in scores["sem_seg"]) is (number == 21)


def fails(raw, match, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        prepare("pascal_voc", raw.parents[1], splits=["val"], progress=False)
    assert "\n" not in str(caught.value)


def test_labels_between_the_last_category_and_the_border(tmp_path):
    raw = write_pascal_voc(tmp_path)
    write_pixels(raw / "SegmentationClass" / f"{VAL}.png", [[21, 0, 255], [0, 0, 0]])
    fails(raw, r"holds the label 21, but labels are 0..20")


def test_colors_in_place_of_a_palette(tmp_path):
    raw = write_pascal_voc(tmp_path)
    write_pixels(raw / "SegmentationClass" / f"{VAL}.png", np.zeros((2, 3, 3)))
    fails(raw, "has mode RGB; expected one channel of category ids")


def test_an_empty_list_and_a_missing_image(tmp_path):
    raw = write_pascal_voc(tmp_path)
    (raw / "JPEGImages" / f"{VAL}.jpg").unlink()
    fails(raw, f"{VAL}.jpg is missing", FileNotFoundError)
    (raw / "ImageSets" / "Segmentation" / "val.txt").write_text("\n")
    fails(raw, "val.txt lists no images")
