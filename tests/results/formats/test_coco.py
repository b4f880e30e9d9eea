"""COCO annotations, read back with pycocotools and supervision."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO

from masqclip_d2.results.formats.coco import coco_dataset, coco_entry, write_coco
from tests.results.example import HW, VOCABULARY, example


def two_images(polygons=True):
    return [coco_entry(example(), name, polygons) for name in ("a.jpg", "sub/b.jpg")]


@pytest.mark.parametrize("polygons", [True, False])
def test_pycocotools_reads_the_same_masks(tmp_path, polygons, capsys):
    entries = two_images(polygons)
    write_coco(tmp_path / "coco.json", VOCABULARY, lambda: iter(entries))
    coco = COCO(str(tmp_path / "coco.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.jpg", "sub/b.jpg"]
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == list(VOCABULARY.names)
    for image_id in coco.getImgIds():
        found = coco.loadAnns(coco.getAnnIds(image_id))
        assert len(found) == 3
        for annotation, segment in zip(found, example(), strict=True):
            assert np.array_equal(coco.annToMask(annotation), segment.mask)
            assert annotation["area"] == segment.area and annotation["score"] == segment.score
            assert annotation["category_id"] == segment.category_id + 1
            x1, y1, x2, y2 = segment.box_xyxy
            assert annotation["bbox"] == [x1, y1, x2 - x1, y2 - y1]


def test_supervision_reads_almost_the_same_masks(tmp_path):
    supervision = pytest.importorskip("supervision")
    from PIL import Image

    Image.fromarray(example().image).save(tmp_path / "a.png")
    for polygons, name in ((True, "polygons.json"), (False, "runs.json")):
        entry = coco_entry(example(), "a.png", polygons)
        write_coco(tmp_path / name, VOCABULARY, lambda entry=entry: iter([entry]))
        dataset = supervision.DetectionDataset.from_coco(str(tmp_path), str(tmp_path / name), force_masks=True)
        [(_, _, found)] = list(dataset)
        assert dataset.classes == list(VOCABULARY.names)
        for mask, class_id, segment in zip(found.mask, found.class_id, example(), strict=True):
            assert class_id == segment.category_id
            # supervision fills polygons with their right and lower border, one pixel more.
            assert mask[segment.mask].all() and (polygons or np.array_equal(mask, segment.mask))


def test_the_file_is_the_dict(tmp_path):
    entries = two_images()
    write_coco(tmp_path / "coco.json", VOCABULARY, lambda: iter(entries))
    content = json.loads((tmp_path / "coco.json").read_text())
    assert content == coco_dataset(VOCABULARY, entries)
    assert [one["id"] for one in content["annotations"]] == [1, 2, 3, 4, 5, 6]


def test_a_result_as_coco_and_without_segments():
    found = example().to_coco("a.jpg")
    assert found["images"] == [{"id": 1, "file_name": "a.jpg", "height": HW[0], "width": HW[1]}]
    assert isinstance(example().to_coco(polygons=False)["annotations"][0]["segmentation"], dict)
    empty = example()[:0].to_coco()
    assert empty["annotations"] == [] and len(empty["images"]) == 1 and len(empty["categories"]) == 3
    hidden = replace(example(), segments=[replace(example()[0], mask=np.zeros(HW, bool))])
    assert hidden.to_coco()["annotations"] == []
