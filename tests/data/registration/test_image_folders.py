"""Images and label maps in sub-folders: Cityscapes' cities, one folder per video."""

import json
import os
import re

import pytest
from detectron2.data import DatasetCatalog

from masqclip_d2 import register_instances, register_panoptic, register_semantic
from masqclip_d2.data.registration.image_folders import ImageFolder, files_by_stem, nested_files
from masqclip_d2.diagnostics.datasets import check_dataset
from masqclip_d2.evaluation.report.saved_evaluation import evaluate_saved
from tests.original_formats import (
    CITYSCAPES_IDS,
    scores_of_the_ground_truth,
    write_cityscapes,
    write_image,
    write_json,
    write_pixels,
)

pytestmark = pytest.mark.usefixtures("forget")

FULL = pytest.approx(100)
VIDEOS = ("first", "second")


def touch(folder, *files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def test_nested_files_skip_hidden_ones_and_follow_links_once(tmp_path):
    root = touch(tmp_path / "images", "b.jpg", "a/1.jpg", "a/c/2.jpg", ".cache/3.jpg", "._b.jpg")
    touch(tmp_path / "elsewhere", "4.jpg")
    os.symlink(tmp_path / "elsewhere", root / "link")
    os.symlink(root, root / "a" / "loop")
    assert list(nested_files(root)) == ["b.jpg", "a/1.jpg", "a/c/2.jpg", "link/4.jpg"]


def test_files_by_stem(tmp_path):
    root = touch(tmp_path, "a_rgb.png", "b.JPG", "c.png", "c.jpg", "city/a_rgb.png", "notes.txt")
    assert files_by_stem(root, "_rgb.png") == {"a": ["a_rgb.png"], "city/a": ["city/a_rgb.png"]}
    assert files_by_stem(root, ".jpg") == {"b": ["b.JPG"], "c": ["c.jpg"]}  # cameras write .JPG
    assert files_by_stem(root, None, exclude={str(root / "c.png")}) == {
        "a_rgb": ["a_rgb.png"], "b": ["b.JPG"], "c": ["c.jpg"], "city/a_rgb": ["city/a_rgb.png"],
    }  # fmt: skip


def test_images_are_looked_up_in_subfolders(tmp_path):
    root = touch(tmp_path / "images", "top.png", "x/one.png", "x/two.png", "y/two.png", "x/top.png")
    folder = ImageFolder(str(root))
    assert folder.path("one.png") == str(root / "x" / "one.png")
    assert folder.path("top.png") == str(root / "top.png")  # directly in the folder comes first
    assert folder.path("y/two.png") == str(root / "y" / "two.png")
    assert folder.path("missing.png") == str(root / "missing.png")
    with pytest.raises(ValueError, match=r"images has several files 'two.png': x/two.png, y/two.png; give the sub-fol"):
        folder.path("two.png")
    assert ImageFolder(str(tmp_path / "nowhere")).path("a.png") == str(tmp_path / "nowhere" / "a.png")


def test_cityscapes_panoptic(tmp_path):
    base = write_cityscapes(tmp_path)
    annotations = base / "gtFine" / "cityscapes_panoptic_val.json"
    pngs = base / "gtFine" / "cityscapes_panoptic_val"
    register_panoptic("cityscapes_val", base / "leftImg8bit" / "val", annotations, pngs)
    records = DatasetCatalog.get("cityscapes_val")
    assert [os.path.relpath(record["file_name"], base) for record in records] == [
        "leftImg8bit/val/frankfurt/frankfurt_000000_000019_leftImg8bit.png",
        "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png",
    ]
    assert [(info["id"], info["category_id"], info["isthing"]) for info in records[0]["segments_info"]] == [
        (7, 0, False), (23, 10, False), (26001, 13, True),
    ]  # fmt: skip
    metrics = scores_of_the_ground_truth("cityscapes_val", tmp_path / "predictions")
    assert metrics["panoptic_seg"]["PQ"] == FULL and metrics["sem_seg"]["mIoU"] == FULL
    assert evaluate_saved(tmp_path / "predictions")[0]["panoptic_seg"]["PQ"] == FULL
    assert all(result.ok for result in check_dataset("cityscapes_val"))


def test_cityscapes_semantic(tmp_path):
    base = write_cityscapes(tmp_path)
    register_semantic(
        "cityscapes_val",
        base / "leftImg8bit" / "val",
        base / "gtFine" / "val",
        list(CITYSCAPES_IDS),
        image_suffix="_leftImg8bit.png",
        label_suffix="_gtFine_labelTrainIds.png",
    )
    records = DatasetCatalog.get("cityscapes_val")
    assert [record["image_id"] for record in records] == [
        "frankfurt/frankfurt_000000_000019",
        "lindau/lindau_000000_000019",
    ]
    metrics = scores_of_the_ground_truth("cityscapes_val", tmp_path / "predictions")
    assert metrics["sem_seg"]["mIoU"] == FULL
    assert all(result.ok for result in check_dataset("cityscapes_val"))
    message = "have no image (the same name with a suffix such as .jpg) in"
    with pytest.raises(ValueError, match=rf"{re.escape(message)} .*give the ends as image_suffix and label_suffix"):
        register_semantic("wrong", base / "leftImg8bit" / "val", base / "gtFine" / "val", "road",
                          label_suffix="_gtFine_labelTrainIds.png")  # fmt: skip


@pytest.fixture
def videos(tmp_path):
    """(images, label maps, panoptic json, pngs, instances json): two videos whose frames have the same file name."""
    images, annotations, things = [], [], []
    for number, video in enumerate(VIDEOS, start=1):
        write_image(tmp_path / "frames" / video / "0001.jpg", 2, 2)
        # The videos have each other's labels, so that mixing them up shows in the metrics.
        columns = [number - 1, 2 - number]
        write_pixels(tmp_path / "labels" / video / "0001.png", [columns, columns])
        ids = [column + 1 for column in columns]
        write_pixels(tmp_path / "pngs" / video / "0001.png", [[(i, 0, 0) for i in ids]] * 2)
        images.append({"id": number, "file_name": f"{video}/0001.jpg", "height": 2, "width": 2})
        segments = [{"id": i, "category_id": i, "area": 2, "bbox": [0, 0, 1, 2], "iscrowd": 0} for i in (1, 2)]
        annotations.append({"image_id": number, "file_name": f"{video}/0001.png", "segments_info": segments})
        left = 1 - columns[0]
        things.append({
            "id": number, "image_id": number, "category_id": 2, "iscrowd": 0, "area": 2, "bbox": [left, 0, 1, 2],
            "segmentation": [[left, 0, left + 1, 0, left + 1, 2, left, 2]],
        })  # fmt: skip
    categories = [{"id": 1, "name": "road", "isthing": 0}, {"id": 2, "name": "car", "isthing": 1}]
    write_json(tmp_path / "panoptic.json", {"images": images, "annotations": annotations, "categories": categories})
    write_json(tmp_path / "things.json", {"images": images, "annotations": things, "categories": categories[1:]})
    return tmp_path


def test_videos_with_equal_file_names(videos):
    register_semantic("labels", videos / "frames", videos / "labels", "road,car", stuff="road")
    register_panoptic("scenes", videos / "frames", videos / "panoptic.json", videos / "pngs",
                      instances=videos / "things.json")  # fmt: skip
    register_instances("things", videos / "frames", videos / "things.json")
    for name, task, key in (("labels", "sem_seg", "mIoU"), ("scenes", "panoptic_seg", "PQ"), ("things", "segm", "AP")):
        assert [os.path.relpath(record["file_name"], videos) for record in DatasetCatalog.get(name)] == [
            f"frames/{video}/0001.jpg" for video in VIDEOS
        ]
        assert scores_of_the_ground_truth(name, videos / f"saved_{name}")[task][key] == FULL
        assert evaluate_saved(videos / f"saved_{name}")[0][task][key] == FULL
        assert all(result.ok for result in check_dataset(name))


def test_saved_predictions_of_different_folders_have_different_files(videos):
    register_semantic("labels", videos / "frames", videos / "labels", "road,car")
    scores_of_the_ground_truth("labels", videos / "saved")
    saved = json.loads((videos / "saved" / "masqclip_predictions.json").read_text())
    files = [image["sem_seg"] for image in saved["images"]]
    assert len(set(files)) == 2 and all((videos / "saved" / "sem_seg_png" / file).is_file() for file in files)


def test_images_of_several_types(tmp_path):
    for name in ("a.jpg", "b.JPG", "c.png"):
        write_image(tmp_path / "images" / name, 2, 1)
    for name in ("a", "b", "c"):
        write_pixels(tmp_path / "labels" / f"{name}.png", [[0, 1]])
    register_semantic("mixed", tmp_path / "images", tmp_path / "labels", "road,car")
    assert [os.path.basename(record["file_name"]) for record in DatasetCatalog.get("mixed")] == [
        "a.jpg", "b.JPG", "c.png",
    ]  # fmt: skip
    assert scores_of_the_ground_truth("mixed")["sem_seg"]["mIoU"] == FULL
    write_image(tmp_path / "images" / "a.png", 2, 1)
    with pytest.raises(
        ValueError, match=r"several images for one label map: a\.(jpg|png), a\.(jpg|png); give image_suff"
    ):
        DatasetCatalog.get("mixed")


def test_label_maps_beside_their_images(tmp_path):
    write_image(tmp_path / "a.jpg", 2, 1)
    write_pixels(tmp_path / "a.png", [[0, 1]])
    register_semantic("beside", tmp_path, tmp_path, "road,car")
    (record,) = DatasetCatalog.get("beside")
    assert (record["file_name"], record["sem_seg_file_name"]) == (str(tmp_path / "a.jpg"), str(tmp_path / "a.png"))


def test_file_names_of_other_machines(tmp_path, caplog):
    root = touch(tmp_path / "images", "x/one.png", "two.png", "y/two.png")
    folder = ImageFolder(str(root))
    assert folder.path("x\\one.png") == str(root / "x" / "one.png")
    assert folder.path("images/two.png") == folder.path("images\\two.png") == str(root / "two.png")
    folder.log("a.json")
    assert caplog.text == ""
    assert folder.path("/data/upload/4/two.png") == str(root / "two.png")
    assert folder.path("C:\\data\\one.png") == str(root / "x" / "one.png")
    assert folder.path("/data/upload/three.png") == "/data/upload/three.png"
    assert folder.path(str(root / "y" / "two.png")) == str(root / "y" / "two.png")
    folder.log("a.json")
    assert (
        "a.json: 2 file names are paths of another machine, such as /data/upload/4/two.png; images of th" in caplog.text
    )


def test_only_the_name_of_the_folder_itself_may_stand_in_front(tmp_path):
    """The same name in another split is another image."""
    root = touch(tmp_path / "val", "one.png")
    assert ImageFolder(str(root)).path("val/one.png") == str(tmp_path / "val" / "one.png")
    assert ImageFolder(str(root)).path("train/one.png") == str(root / "train" / "one.png")


@pytest.mark.usefixtures("forget")
def test_images_of_several_types_in_one_folder(tmp_path):
    for name in ("images/a.jpg", "images/b.JPG", "images/c.png", "labels/a.png", "labels/b.png", "labels/c.png"):
        write_pixels(tmp_path / name, [[0, 1]])
    register_semantic("mixed", tmp_path / "images", tmp_path / "labels", "road,kerb")
    assert [os.path.basename(record["file_name"]) for record in DatasetCatalog.get("mixed")] == [
        "a.jpg",
        "b.JPG",
        "c.png",
    ]
    with pytest.raises(
        ValueError, match=r"1 label maps .*: c; there is c.png: leave out image_suffix to use images of"
    ):
        register_semantic("one type", tmp_path / "images", tmp_path / "labels", "road,kerb", image_suffix=".jpg")
    write_pixels(tmp_path / "labels/c.PNG", [[0, 1]])
    with pytest.raises(ValueError, match=r"several label maps for one image: c\.(PNG|png), c.*; remove all but one"):
        register_semantic("twice", tmp_path / "images", tmp_path / "labels", "road,kerb")
