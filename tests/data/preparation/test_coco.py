"""COCO 2017 from its published files to metrics; outputs are derived by hand from tests/original_formats."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from masqclip_d2.data.preparation import prepare
from masqclip_d2.data.registration import register_coco_panoptic, register_coco_split
from tests.original_formats import (
    read_json,
    scores_of_the_ground_truth,
    write_coco_instances,
    write_coco_panoptic,
    write_json,
    write_pixels,
)

SPLIT_FOLDER = "annotations/ov_split_48_17"


@pytest.fixture
def panoptic(tmp_path):
    return write_coco_panoptic(tmp_path)


@pytest.fixture
def instances(tmp_path):
    return write_coco_instances(tmp_path)


def test_semantic_maps_have_contiguous_ids_also_of_crowds(panoptic):
    prepare("coco", panoptic.parent, progress=False)
    for split, number in (("train", 1), ("val", 2)):
        with Image.open(panoptic / f"panoptic_semseg_{split}2017" / f"{number:012d}.png") as image:
            assert image.mode == "L"
            # person is 0, grass-merged (193) 125 of 133
            assert np.asarray(image).tolist() == [[0, 0, 125], [0, 255, 125]]


def test_the_ground_truth_scores_100(panoptic):
    prepare("coco", panoptic.parent, splits=["val"], progress=False)
    register_coco_panoptic(panoptic.parent, prefix="right_")
    scores = scores_of_the_ground_truth("right_coco_panoptic_val")
    for task, key in (("panoptic_seg", "PQ"), ("sem_seg", "mIoU"), ("segm", "AP")):
        assert scores[task][key] == pytest.approx(100)


def test_records_have_semantic_maps_once_they_exist(panoptic):
    register_coco_panoptic(panoptic.parent, prefix="plain_")
    (record,) = DatasetCatalog.get("plain_coco_panoptic_val")
    assert "sem_seg_file_name" not in record
    assert (record["image_id"], record["height"], record["width"]) == (2, 2, 3)
    assert [info["category_id"] for info in record["segments_info"]] == [0, 0, 125]
    prepare("coco", panoptic.parent, splits=["val"], progress=False)
    (record,) = DatasetCatalog.get("plain_coco_panoptic_val")
    assert record["sem_seg_file_name"] == str(panoptic / "panoptic_semseg_val2017" / "000000000002.png")


def test_the_six_files_of_the_split(instances):
    prepare("coco_split", instances.parent, progress=False)
    found = {path.name: read_json(path) for path in (instances / SPLIT_FOLDER).iterdir()}
    assert set(found) == {
        f"instances_{split}2017_{subset}.json"
        for split in ("train", "val")
        for subset in ("seen48", "unseen17", "instances65")
    }
    rows = {
        name: ([i["id"] for i in c["images"]], [a["id"] for a in c["annotations"]], [k["id"] for k in c["categories"]])
        for name, c in found.items()
    }
    for split in ("train", "val"):  # in the published order; a crowd keeps its image; traffic lights are left out
        assert rows[f"instances_{split}2017_seen48.json"] == ([7], [39], [1])
        assert rows[f"instances_{split}2017_unseen17.json"] == ([7, 5], [41, 40], [17])
        assert rows[f"instances_{split}2017_instances65.json"] == ([7, 5], [41, 40, 39], [1, 17])
    content = found["instances_val2017_seen48.json"]
    assert content["info"] == {"year": 2017} and content["licenses"] == [{"id": 1}]
    assert content["annotations"][0]["segmentation"] == [[0, 0, 2, 0, 2, 2, 0, 2]]


@pytest.mark.parametrize("subset", ["base48", "novel17", "instances65"])
def test_the_ground_truth_of_the_split_scores_100(instances, subset):
    prepare("coco_split", instances.parent, splits=["val"], progress=False)
    register_coco_split(instances.parent, prefix=f"right_{subset}_")
    scores = scores_of_the_ground_truth(f"right_{subset}_coco_instance_val_{subset}")
    assert scores["segm"]["AP50"] == pytest.approx(100)
    if subset == "instances65":
        assert scores["segm"]["AP50_base"] == scores["segm"]["AP50_novel"] == pytest.approx(100)


def test_records_equal_those_of_detectron2s_reader(instances):
    from detectron2.data.datasets import load_coco_json

    prepare("coco_split", instances.parent, splits=["val"], progress=False)
    register_coco_split(instances.parent, prefix="coco_same_")
    name = "coco_same_coco_instance_val_instances65"
    path = instances / SPLIT_FOLDER / "instances_val2017_instances65.json"
    theirs = load_coco_json(str(path), str(instances / "val2017"), "coco_of_two")  # 0 and 1 of two categories
    ours = DatasetCatalog.get(name)
    assert [record["image_id"] for record in ours] == [5, 7]
    contiguous = {0: 0, 1: MetadataCatalog.get(name).thing_classes.index("cat")}  # two categories -> 65
    for record in theirs:
        for annotation in record["annotations"]:
            annotation["category_id"] = contiguous[annotation["category_id"]]
    assert ours == theirs


# --- Bad input ---


def edit(path, change):
    content = read_json(path)
    change(content)
    write_json(path, content)


def fails(root, name, match, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        prepare(name, root, splits=["val"], progress=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, match",
    [
        (
            lambda c: c["annotations"][0]["segments_info"][0].update(category_id=12),
            "image 2 has category id 12, which is not among the 133 c",
        ),
        (lambda c: c["annotations"][0].update(image_id=77), "annotations of image 77, which is not among its 1 images"),
        (lambda c: c["categories"].append({"id": 2, "name": "person"}), "category name 'person' more than once"),
        (lambda c: c.pop("images"), "has no images, which COCO's formats require"),
    ],
    ids=["category not in the table", "annotation without image", "duplicate name", "part missing"],
)
def test_invalid_panoptic_files_are_errors_of_one_line(panoptic, change, match):
    edit(panoptic / "annotations" / "panoptic_val2017.json", change)
    fails(panoptic.parent, "coco", match)


def test_a_truncated_file_is_an_error_of_one_line(panoptic):
    path = panoptic / "annotations" / "panoptic_val2017.json"
    path.write_text(path.read_text()[:100])
    fails(panoptic.parent, "coco", "panoptic_val2017.json is damaged or truncated")


def test_a_semantic_map_is_not_a_panoptic_png(panoptic):
    write_pixels(panoptic / "panoptic_val2017" / "000000000002.png", np.zeros((2, 3)))
    fails(panoptic.parent, "coco", "000000000002.png has mode L; expected colors")


def test_a_missing_panoptic_png_is_reported(panoptic):
    (panoptic / "panoptic_val2017" / "000000000002.png").unlink()
    fails(panoptic.parent, "coco", "000000000002.png does not exist", FileNotFoundError)


def test_an_unknown_category_in_the_instances(instances):
    edit(
        instances / "annotations" / "instances_val2017.json",
        lambda content: content["annotations"][0].update(category_id=12),
    )
    fails(instances.parent, "coco_split", r"annotations of the category ids \[12\], which are not COCO's")


def test_missing_downloads_are_reported(tmp_path):
    fails(tmp_path, "coco_split", "instances_val2017.json is missing, .*: download COCO", FileNotFoundError)
    assert not list(tmp_path.iterdir())
