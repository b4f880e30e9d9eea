"""Labelme's files: the keys and types that Labelme requires, and masks that its polygons enclose."""

import json

import numpy as np
from pycocotools import mask as coco_mask

from tests.results.example import HW, example


def test_the_file_has_what_labelme_requires(tmp_path):
    [path] = example().save(tmp_path, "labelme", stem="a", image_name="trip/a.jpg")
    assert path == tmp_path / "labelme" / "a.json"
    content = json.loads(path.read_text())
    assert set(content) == {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    assert content["imagePath"] == "a.jpg" and content["imageData"] is None
    assert (content["imageHeight"], content["imageWidth"]) == HW
    for shape in content["shapes"]:
        assert set(shape) == {"label", "points", "group_id", "description", "shape_type", "flags", "mask"}
        assert shape["shape_type"] == "polygon" and len(shape["points"]) >= 3
        assert all(len(point) == 2 and all(isinstance(value, float) for value in point) for point in shape["points"])


def test_parts_share_a_group_and_enclose_the_mask():
    shapes = example().to_labelme()["shapes"]
    assert [(shape["label"], shape["group_id"]) for shape in shapes] == [
        ("dog", None), ("cat", 2), ("cat", 2), ("grass & <sky>", 3), ("grass & <sky>", 3),
    ]  # fmt: skip
    for segment in example():
        polygons = [np.ravel(shape["points"]).tolist() for shape in shapes if shape["label"] == segment.label]
        assert np.array_equal(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *HW))), segment.mask)
