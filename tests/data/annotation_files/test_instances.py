"""Instances as training, evaluation and checks use them: what is left out, what is corrected, and what is said."""

import logging
import re

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T

from masqclip_d2 import register_instances
from masqclip_d2.coco_masks import run_length
from masqclip_d2.data.annotation_files import read_instances
from masqclip_d2.data.ground_truth import instance_masks
from masqclip_d2.evaluation import InstanceEvaluator, ProposalRecallEvaluator
from tests.original_formats import write_image, write_json

HW = (40, 50)
SQUARE = [5, 5, 25, 5, 25, 25, 5, 25]


def annotation(number=1, **changed):
    return {
        "id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 400, "bbox": [5, 5, 20, 20],
        "segmentation": [SQUARE], **changed,
    }  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.json"


def write(path, annotations, **changed):
    images = [{"id": 1, "file_name": "1.png", "height": HW[0], "width": HW[1]}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories, **changed})


def read(path, annotations, **changed):
    write(path, annotations, **changed)
    return read_instances(path, {1: 0, 2: 1})


def test_a_proper_annotation_is_unchanged_and_nothing_is_said(path, caplog):
    found = read(
        path, [annotation(), annotation(2, segmentation=run_length(np.eye(*HW, dtype=bool)), bbox=[0, 0, 40, 40])]
    )
    assert found.content["annotations"][0] == annotation() and len(found.content["annotations"]) == 2
    assert found.report.sentences() == []
    found.report.log()
    assert caplog.text == ""


NAN, INF = float("nan"), float("inf")
UNUSABLE = {
    "missing": (None, "no mask"),
    "empty": ([], "no mask"),
    "empty object": ({}, "no mask"),
    "empty polygon": ([[]], "no mask"),
    "text": ("abc", "another kind"),
    "number": (5, "another kind"),
    "two points": ([[1, 2, 3, 4]], "fewer than three points"),
    "odd": ([[1, 2, 3, 4, 5, 6, 7]], "odd number of coordinates"),
    "NaN": ([[NAN, 0, 5, 5, 9, 9]], "no finite numbers"),
    "infinity": ([[INF, 0, 5, 5, 9, 9]], "no finite numbers"),
    "letters": ([["a", "b", "c", "d", "e", "f"]], "no finite numbers"),
    "null": ([[None] * 6], "no finite numbers"),
    "huge": ([[1e9, 0, 0, 1e9, 5, 5]], "far outside"),
    "very huge": ([[10**400] * 6], "no finite numbers"),
    "an endless outline": ([[0, 0, 50, 40] * 5000], "far outside"),
    "normalized": ([[0.1, 0.1, 0.5, 0.1, 0.5, 0.5]], "coordinates from 0 to 1: 1 .annotation 1.; multiply"),
    "outside": ([[-5, -5, -25, -5, -25, -25]], "without a pixel"),
    "a line": ([[5, 5, 10, 5, 20, 5]], "without a pixel"),
    "no pixel": ({"size": [40, 50], "counts": [2000]}, "without a pixel"),
    "width, height": ({"size": [50, 40], "counts": [0, 2000]}, "40x50 pixels, but the image is 50x40"),
    "too short": ({"size": [40, 50], "counts": [0, 10]}, "cover 10 pixels instead of 50x40"),
    "too long": ({"size": [40, 50], "counts": [0, 10**12]}, "cover 1000000000000 pixels"),
    "a sum that overflows": ({"size": [40, 50], "counts": [2**62] * 4 + [2000]}, f"cover {2**62} pixels"),
    "negative": ({"size": [40, 50], "counts": [2010, -10]}, "at least 0, got -10"),
    "fractions": ({"size": [40, 50], "counts": [0.5, 1999.5]}, "got 0.5"),
    "no counts": ({"size": [40, 50]}, "it has no 'counts'"),
    "no size": ({"counts": [2000]}, "it has no 'size'"),
    "three sizes": ({"size": [40, 50, 3], "counts": [2000]}, "damaged run lengths"),
    "other characters": ({"size": [40, 50], "counts": "~~~~"}, "a character that run lengths do not have"),
    "long numbers": ({"size": [40, 50], "counts": "o" * 50}, "too many characters|run lengths"),
}  # fmt: skip


def test_one_pixel_in_the_corner_is_not_taken_for_normalized_coordinates(path):
    found = read(path, [annotation(segmentation=[[0, 0, 1, 0, 1, 1, 0, 1]], bbox=[0, 0, 1, 1], area=1)])
    assert len(found.content["annotations"]) == 1 and found.report.sentences() == []


@pytest.mark.parametrize("iscrowd", [0, 1])
@pytest.mark.parametrize("fault", UNUSABLE)
def test_unusable_masks_are_left_out_counted_and_explained(path, fault, iscrowd):
    segmentation, message = UNUSABLE[fault]
    found = read(path, [annotation(segmentation=segmentation, iscrowd=iscrowd), annotation(2)])
    assert [row["id"] for row in found.content["annotations"]] == [2]
    (sentence,) = found.report.sentences()
    assert sentence.startswith("Left out in training and evaluation: 1 of 2 annotations, with ")
    assert re.search(message, sentence)


USABLE = {
    "without the outer list": SQUARE,
    "points": [[[5, 5], [25, 5], [25, 25], [5, 25]]],
    "points without the outer list": [[5, 5], [25, 5], [25, 25], [5, 25]],
    "text": [[str(value) for value in SQUARE]],
    "sizes as text": {"size": ["40", 50.0], "counts": [205, *[20, 20] * 19, 20.0, 1015]},
}


@pytest.mark.parametrize("form", USABLE)
def test_other_forms_of_the_same_mask_are_read(path, form):
    (row,) = read(path, [annotation(segmentation=USABLE[form])]).content["annotations"]
    record = {"annotations": [row]}
    expected = instance_masks({"annotations": [annotation()]}, HW, T.TransformList([])).masks
    assert np.array_equal(instance_masks(record, HW, T.TransformList([])).masks, expected)


def test_polygons_that_are_none_are_dropped_from_an_object(path):
    found = read(path, [annotation(segmentation=[[1, 2, 3, 4], SQUARE])])
    assert found.content["annotations"][0]["segmentation"] == [SQUARE]
    (sentence,) = found.report.sentences()
    assert (
        "Used without a part of their masks, with polygons of fewer than three points: 1 (annotation 1); d" in sentence
    )


def test_a_file_without_any_usable_mask_is_refused(path):
    with pytest.raises(
        ValueError,
        match=r"none of its annotations can be used. Left out .*: 2 of 2 .*: 2 \(annotations 1, 2\); draw",
    ):
        read(path, [annotation(1, segmentation=[]), annotation(2, segmentation=None)])


def test_areas(path):
    areas = [None, NAN, 0, -4, 1e308, "big"]
    found = read(
        path, [annotation(i, area=area) for i, area in enumerate(areas, start=1)] + [annotation(9, area="123")]
    )
    assert [row["area"] for row in found.content["annotations"]] == [400] * 6 + [123]
    assert (
        "Impossible areas, in place of which those of the masks are used: 6 (annotations 1, 2, 3, ...)"
        in found.report.sentences()[0]
    )
    row = annotation()
    del row["area"]
    found = read(path, [row])
    assert found.content["annotations"][0]["area"] == 400 and not found.report.sentences()


@pytest.mark.parametrize("written, expected", [(None, 0), (True, 1), ("1", 1), ("0", 0), (0.0, 0), (False, 0)])
def test_crowds(path, written, expected):
    assert read(path, [annotation(iscrowd=written)]).content["annotations"][0]["iscrowd"] == expected


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"iscrowd": 2}, "annotation 1 has 'iscrowd' 2; expected 0 or 1"),
        ({"iscrowd": [1]}, r"annotation 1 has 'iscrowd' \[1\]"),
        ({"category_id": 7}, "annotation 1 has category id 7, which is not among the 2 categories of the dataset"),
        ({"category_id": None}, "annotation 1 has category id None; expected an integer"),
        ({"category_id": "cat"}, "annotation 1 has category id 'cat', but evaluation requires integer ids"),
        ({"id": None}, "an annotation of image 1 has the id None"),
        ({"id": 1.5}, "an annotation of image 1 has the id 1.5"),
    ],
)
def test_values_that_nothing_can_be_made_of(path, changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(path, [annotation(**changed)])
    assert str(path) in str(caught.value)


def test_images_without_size(path):
    with pytest.raises(ValueError, match="image 1 has no height, width"):
        read(path, [annotation()], images=[{"id": 1, "file_name": "1.png"}])


@pytest.mark.parametrize("ids", [[0, 1], ["a-1", "b-2"], [2**60, 5]])
def test_ids_that_evaluation_cannot_store_are_replaced(path, ids):
    found = read(path, [annotation(ids[0]), annotation(ids[1], category_id=2)])
    assert [row["id"] for row in found.content["annotations"]] == [1, 2]


@pytest.mark.parametrize("ids", [[5, 5], [5, "5"]])
def test_repeated_ids_are_refused(path, ids):
    with pytest.raises(ValueError, match="annotation ids must be unique, but 5 occurs more than once; remove"):
        read(path, [annotation(key) for key in ids])


@pytest.mark.parametrize(
    "rows, changed, message",
    [
        ([], {}, "It has no annotations: there is nothing to learn, and metrics of instances are nan"),
        ([annotation(iscrowd=1)], {}, "All annotations .1. are crowds .*; set 'iscrowd' to 0 .*CVAT"),
        ([annotation(1), annotation(2)], {}, r"Repetitions of another annotation, .*: 1 \(annotation 2\); remove"),
        (
            [annotation(segmentation=[[5, 5, 90, 5, 90, 25, 5, 25]], bbox=[5, 5, 45, 20])], {},
            r"reach beyond their images, .*: 1 \(annotation 1\); were the images resized\?",
        ),
        (
            [annotation()],
            {"images": [{"id": i, "file_name": "1.png", "height": 40, "width": 50} for i in (1, 2)]},
            r"Images listed with several ids, .*: 1 \(image 1.png\); merge",
        ),
        (
            [annotation()],
            {"categories": [{"id": 0, "name": "pets"}, {"id": 1, "name": "cat", "supercategory": "pets"}]},
            "'pets' has no annotations and is the group of others, .* with ignore_categories='pets'",
        ),
    ],
    ids=["empty", "crowds", "repeated", "outside", "image twice", "group"],
)  # fmt: skip
def test_what_can_be_used_but_is_no_good_is_said(path, rows, changed, message):
    (sentence,) = read(path, rows, **changed).report.sentences()
    assert re.search(message, sentence)


def test_ignored_and_renumbered_categories(path):
    rows = [{"id": 7, "name": "dog"}, {"id": 1, "name": "pets"}, {"id": 2, "name": "cat"}, {"id": 9, "name": "elk"}]
    write(
        path,
        [annotation(1, category_id=7), annotation(2, category_id=2), annotation(3, category_id=1)],
        categories=rows,
    )
    found = read_instances(path, {1, 2}, ignored=[0], renumbered={7: 2, 2: 1, 1: 0})
    assert [row["category_id"] for row in found.content["annotations"]] == [2, 1]
    assert found.content["categories"] == [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}]
    assert found.report.sentences()[1] == "Annotations of ignored categories ('pets') left out: 1."


@pytest.mark.usefixtures("forget")
def test_training_and_evaluation_leave_out_the_same_and_say_so_once(tmp_path, path, caplog):
    """Perfect predictions of what training sees reach 100."""
    bad = [annotation(i, segmentation=value) for i, (value, _) in enumerate(UNUSABLE.values(), start=10)]
    write(
        path,
        [annotation(1), *bad, annotation(2, category_id=2, segmentation=[[9, 9, 40, 9, 40, 30]], bbox=[9, 9, 31, 21])],
    )
    write_image(tmp_path / "1.png", HW[1], HW[0])
    register_instances("pets", tmp_path, path)
    caplog.set_level(logging.WARNING)
    (record,) = DatasetCatalog.get("pets")
    masks = instance_masks(record, HW, T.TransformList([]))
    assert len(masks.masks) == 2
    instances = InstanceEvaluator("pets")
    proposals = ProposalRecallEvaluator("pets")
    prediction = perfect(masks)
    instances.process([record], [{"instances": prediction}])
    proposals.process([record], [{"proposals": prediction}])
    assert instances.evaluate()["segm"]["AP"] == pytest.approx(100)
    assert proposals.evaluate()["proposals"]["AR@100"] == pytest.approx(100)
    said = [message for message in caplog.messages if "Left out" in message]
    assert len(said) == 1 and said[0].startswith(
        f"{path}: Left out in training and evaluation: {len(UNUSABLE)} of {len(UNUSABLE) + 2} a"
    )
    assert MetadataCatalog.get("pets").json_file == str(path)


def perfect(objects):
    import torch
    from detectron2.structures import Boxes, Instances

    from masqclip_d2.fusion import boxes_from_masks

    masks = torch.from_numpy(objects.masks)
    fields = {"pred_masks": masks, "pred_boxes": Boxes(boxes_from_masks(masks)), "scores": torch.ones(len(masks))}
    return Instances(HW, pred_classes=torch.from_numpy(objects.classes), **fields)
