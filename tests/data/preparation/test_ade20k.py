"""ADE20K-150 from its published files to metrics; outputs are derived by hand from tests/original_formats."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as coco_mask

from masqclip_d2.data.label_maps import read_panoptic_png
from masqclip_d2.data.preparation import prepare
from masqclip_d2.data.registration import register_ade20k
from tests.original_formats import (
    ADE_TRAIN,
    ADE_VAL,
    read_json,
    scores_of_the_ground_truth,
    write_ade20k,
    write_pixels,
)

# Segment ids are the categories' colors: wall (120, 120, 120), sky (6, 230, 230), bed (204, 5, 255),
# person (150, 5, 61), as R + 256 G + 65536 B.
WALL, SKY = 120 + 256 * 120 + 65536 * 120, 6 + 256 * 230 + 65536 * 230
BED, PERSON = 204 + 256 * 5 + 65536 * 255, 150 + 256 * 5 + 65536 * 61


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("ade20k")
    write_ade20k(root)
    prepare("ade20k", root, num_workers=2, progress=False)
    register_ade20k(root, prefix="mini_")
    return root


@pytest.fixture(scope="module")
def folder(root):
    return root / "ADEChallengeData2016"


def test_semantic_labels_start_at_zero_and_other_is_ignored(folder):
    with Image.open(folder / "annotations_detectron2" / "validation" / f"{ADE_VAL}.png") as image:
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[0, 0, 2, 2], [7, 7, 2, 255], [7, 7, 12, 255]]


def test_instances(folder):
    content = read_json(folder / "ade20k_instance_train.json")
    assert content["images"] == [{"id": ADE_TRAIN, "file_name": f"{ADE_TRAIN}.jpg", "width": 2, "height": 2}]
    first, second = content["annotations"]
    mask = coco_mask.decode(first.pop("segmentation"))
    assert mask.tolist() == [[0, 1], [0, 1]]
    assert first == {"id": 1, "image_id": ADE_TRAIN, "category_id": 7, "iscrowd": 0, "bbox": [1, 0, 1, 2], "area": 2}
    assert (second["id"], second["category_id"], second["bbox"], second["area"]) == (2, 7, [0, 1, 1, 1], 1)
    assert len(content["categories"]) == 100
    assert content["categories"][:2] == [{"id": 7, "name": "bed"}, {"id": 8, "name": "windowpane"}]


def test_annotation_ids_count_over_the_split_and_image_ids_are_stems(folder):
    content = read_json(folder / "ade20k_instance_val.json")
    assert [(a["id"], a["image_id"], a["category_id"]) for a in content["annotations"]] == [
        (1, ADE_VAL, 7),
        (2, ADE_VAL, 12),
    ]


def test_panoptic_png_has_stuff_and_things_over_it_and_void_elsewhere(folder):
    segment_ids = read_panoptic_png(folder / "ade20k_panoptic_val" / f"{ADE_VAL}.png")
    assert segment_ids.tolist() == [[WALL, WALL, SKY, SKY], [BED, BED, SKY, 0], [BED, BED, PERSON, 0]]
    content = read_json(folder / "ade20k_panoptic_val.json")
    (annotation,) = content["annotations"]
    assert (annotation["image_id"], annotation["file_name"]) == (ADE_VAL, f"{ADE_VAL}.png")
    assert annotation["segments_info"] == [
        {"id": WALL, "category_id": 0, "area": 2, "bbox": [0, 0, 2, 1], "iscrowd": 0},
        {"id": SKY, "category_id": 2, "area": 3, "bbox": [2, 0, 2, 2], "iscrowd": 0},
        {"id": BED, "category_id": 7, "area": 4, "bbox": [0, 1, 2, 2], "iscrowd": 0},
        {"id": PERSON, "category_id": 12, "area": 1, "bbox": [2, 2, 1, 1], "iscrowd": 0},
    ]
    assert len(content["categories"]) == 150
    assert content["categories"][7] == {"id": 7, "name": "bed", "isthing": 1, "color": [204, 5, 255]}


def test_areas_of_stuff_are_those_before_things_are_painted_over_it(folder):
    segment_ids = read_panoptic_png(folder / "ade20k_panoptic_train" / f"{ADE_TRAIN}.png")
    second_bed = BED + 7  # the first free id from the color on
    assert segment_ids.tolist() == [[WALL, BED], [second_bed, BED]]
    (annotation,) = read_json(folder / "ade20k_panoptic_train.json")["annotations"]
    assert [(info["id"], info["area"]) for info in annotation["segments_info"]] == [
        (WALL, 2), (BED, 2), (second_bed, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["ade20k_panoptic_val", "ade20k_instance_val", "ade20k_sem_seg_val"])
def test_the_ground_truth_scores_100(root, name):
    scores = scores_of_the_ground_truth(f"mini_{name}")
    expected = {
        "ade20k_panoptic_val": {"panoptic_seg": "PQ", "sem_seg": "mIoU", "segm": "AP", "bbox": "AP"},
        "ade20k_instance_val": {"segm": "AP", "bbox": "AP"},
        "ade20k_sem_seg_val": {"sem_seg": "mIoU"},
    }[name]
    assert set(scores) == set(expected)
    for task, key in expected.items():
        assert scores[task][key] == pytest.approx(100), (task, key)
    if "panoptic_seg" in scores:  # things and stuff are mixed among the ids
        assert scores["panoptic_seg"]["PQ_th"] == scores["panoptic_seg"]["PQ_st"] == pytest.approx(100)
        assert scores["panoptic_seg"]["PQ-bed"] == pytest.approx(100)


def test_a_second_run_changes_nothing(root, folder):
    path = folder / "ade20k_panoptic_val.json"
    before = path.stat().st_mtime_ns
    lines = prepare("ade20k", root, progress=False)
    assert all("already there" in line for line in lines) and len(lines) == 6
    assert path.stat().st_mtime_ns == before
    assert not list(folder.rglob(".masqclip_parts")) and not list(folder.rglob("*.tmp"))


def test_contiguous_ids_of_the_three_datasets(root):
    panoptic = MetadataCatalog.get("mini_ade20k_panoptic_val")
    assert panoptic.thing_dataset_id_to_contiguous_id[149] == 149 and len(panoptic.thing_classes) == 100
    instance = MetadataCatalog.get("mini_ade20k_instance_val")
    assert instance.thing_dataset_id_to_contiguous_id[149] == 99
    assert instance.thing_classes[1] == "windowpane" and panoptic.stuff_classes[8] == "window"
    (record,) = DatasetCatalog.get("mini_ade20k_instance_val")
    assert [a["category_id"] for a in record["annotations"]] == [0, 3]


# --- Bad input ---


def fails(root, match, error=ValueError, kinds=None):
    with pytest.raises(error, match=match) as caught:
        prepare("ade20k", root, kinds=kinds, splits=["val"], progress=False)
    assert "\n" not in str(caught.value)


@pytest.fixture
def raw(tmp_path):
    return write_ade20k(tmp_path)


def test_a_label_out_of_range_is_reported_with_file_and_value(raw):
    write_pixels(raw / "annotations" / "validation" / f"{ADE_VAL}.png", [[151] * 4] * 3)
    fails(raw.parent, rf"{ADE_VAL}.png holds the label 151, but labels are 0..150")


def test_colors_are_refused_as_labels(raw):
    write_pixels(raw / "annotations" / "validation" / f"{ADE_VAL}.png", np.zeros((3, 4, 3)))
    fails(raw.parent, "has mode RGB; expected one channel")


def test_instances_without_colors(raw):
    write_pixels(raw / "annotations_instance" / "validation" / f"{ADE_VAL}.png", np.ones((3, 4)))
    fails(raw.parent, "has mode L; expected three channels", kinds=["instance"])


def test_an_instance_of_two_classes(raw):
    pixels = [[(1, 1, 0), (2, 1, 0), (0, 0, 0), (0, 0, 0)]] * 3
    write_pixels(raw / "annotations_instance" / "validation" / f"{ADE_VAL}.png", pixels)
    fails(raw.parent, r"instance 1 has the class 1, 2 in its red channel; expected one of 1..100", kinds=["panoptic"])


def test_an_annotation_without_image(raw):
    write_pixels(raw / "annotations" / "validation" / "ADE_val_00000002.png", [[1]])
    fails(raw.parent, r"ADE_val_00000002.png has no counterpart in .*images/validation \(1 such files\)")


def test_an_annotation_of_another_size(raw):
    write_pixels(raw / "annotations_instance" / "validation" / f"{ADE_VAL}.png", [[(0, 0, 0)]])
    fails(raw.parent, r"are 1x1 pixels, but their image .* 4x3 \(width x height\)", kinds=["instance"])


def test_steps_with_missing_instances_can_be_excluded(raw):
    import shutil

    shutil.rmtree(raw / "annotations_instance")
    fails(raw.parent, r"annotations_instance/validation is missing.*annotations_instance.tar", FileNotFoundError)
    lines = prepare("ade20k", raw.parent, kinds=["semantic"], splits=["val"], progress=False)
    assert lines == [f"semantic val: {raw / 'annotations_detectron2/validation'}"]


def test_files_of_other_tools_are_not_overwritten(raw):
    write_pixels(raw / "annotations_detectron2" / "validation" / f"{ADE_VAL}.png", [[9]])
    fails(raw.parent, "annotations_detectron2/validation was not made by this command", FileExistsError)
    assert np.asarray(Image.open(raw / "annotations_detectron2" / "validation" / f"{ADE_VAL}.png")).tolist() == [[9]]
    assert not (raw / "ade20k_instance_val.json").exists()  # all is looked at before anything is written
    prepare("ade20k", raw.parent, kinds=["instance", "panoptic"], splits=["val"], progress=False)


def test_an_interrupted_preparation_is_reported_and_resumed(raw):
    damaged = raw / "annotations" / "validation" / f"{ADE_VAL}.png"
    good = damaged.read_bytes()
    damaged.write_bytes(good[:40])
    fails(raw.parent, f"{ADE_VAL}.png cannot be read", kinds=["semantic"])
    register_ade20k(raw.parent, prefix="broken_")
    with pytest.raises(FileNotFoundError, match="was interrupted; resume it with: masqclip prepare ade20k"):
        DatasetCatalog.get("broken_ade20k_sem_seg_val")
    damaged.write_bytes(good)
    prepare("ade20k", raw.parent, kinds=["semantic"], splits=["val"], progress=False)
    assert len(DatasetCatalog.get("broken_ade20k_sem_seg_val")) == 1


def test_unknown_kinds_and_preparations():
    with pytest.raises(ValueError, match="ade20k has no kind depth; known: semantic, instance, panoptic"):
        prepare("ade20k", "nowhere", kinds=["depth"])
    with pytest.raises(ValueError, match="no preparation 'ade'; known: coco, "):
        prepare("ade", "nowhere")
