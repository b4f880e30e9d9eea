"""YOLO labels, read back with supervision."""

import numpy as np
import pytest
import yaml
from PIL import Image

from masqclip_d2.results import Segment, Segmentation
from masqclip_d2.results.formats.yolo import yolo_lines
from tests.results.example import HW, VOCABULARY, example


def test_lines_have_the_category_and_coordinates_from_0_to_1():
    lines = example().to_yolo()
    assert lines == yolo_lines(example()) and [line.split()[0] for line in lines] == ["1", "0", "2"]
    for line in lines:
        numbers = [float(word) for word in line.split()[1:]]
        assert len(numbers) % 2 == 0 and len(numbers) >= 6 and min(numbers) > 0 and max(numbers) < 1


def test_supervision_reads_the_masks(tmp_path):
    supervision = pytest.importorskip("supervision")
    example().save(tmp_path, "yolo", stem="a")
    images = tmp_path / "yolo" / "images" / "train"
    images.mkdir(parents=True)
    Image.fromarray(example().image).save(images / "a.png")
    dataset = supervision.DetectionDataset.from_yolo(
        str(images), str(tmp_path / "yolo/labels/train"), str(tmp_path / "yolo/data.yaml"), force_masks=True
    )
    assert dataset.classes == list(VOCABULARY.names)
    [(_, _, found)] = list(dataset)
    for mask, segment in zip(found.mask, example(), strict=True):
        assert mask[segment.mask].all()
        bridges = (mask & ~segment.mask).sum()
        assert bridges <= {"dog": 0, "cat": 6, "grass & <sky>": 20}[segment.label]


@pytest.mark.parametrize("hw", [(1, 1), (1, 5)])
def test_a_pixel_and_a_line_have_three_corners(hw):
    mask = np.ones(hw, dtype=bool)
    result = Segmentation(np.zeros((*hw, 3), np.uint8), VOCABULARY, "panoptic", [Segment("cat", 0, True, 1.0, mask)])
    [line] = result.to_yolo()
    assert len(line.split()) >= 7


def test_names_are_in_data_yaml(tmp_path):
    written = example().save(tmp_path, "yolo", stem="a")
    assert written == [tmp_path / "yolo/labels/train/a.txt", tmp_path / "yolo/data.yaml"]
    content = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    assert content["names"] == dict(enumerate(VOCABULARY.names)) and content["train"] == "images/train"
    assert len((tmp_path / "yolo/labels/train/a.txt").read_text().splitlines()) == 3
    assert example().image.shape[:2] == HW
