"""What check-data says of annotations that cannot be used, or not as they are."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from masqclip_d2 import register_instances
from masqclip_d2.diagnostics.datasets import check_dataset
from tests.original_formats import write_image, write_json

pytestmark = pytest.mark.usefixtures("forget")


def annotations_of(tmp_path, *rows):
    write_image(tmp_path / "a.jpg", 50, 40)
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 50}],
        "annotations": [{"id": i, "image_id": 1, "category_id": 1, **row} for i, row in enumerate(rows, start=1)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    write_json(tmp_path / "a.json", content)
    register_instances("pets", tmp_path, tmp_path / "a.json")
    return {result.subject: result for result in check_dataset("pets")}


SQUARE = {"segmentation": [[5, 5, 25, 5, 25, 25, 5, 25]]}


def test_nothing_is_said_of_proper_annotations(tmp_path):
    results = annotations_of(tmp_path, SQUARE)
    assert "annotations" not in results and all(result.ok for result in results.values())


def test_what_is_left_out_is_counted_and_logged_only_by_runs(tmp_path, caplog):
    result = annotations_of(tmp_path, SQUARE, {"segmentation": []})["annotations"]
    assert (
        result.warning
        and "a.json: Left out in training and evaluation: 1 of 2 annotations, with no mask" in result.message
    )
    assert caplog.text == ""


@pytest.mark.parametrize("rows, message", [([], "It has no annotations"), ([{**SQUARE, "iscrowd": 1}], "are crowds")])
def test_a_dataset_without_objects_fails(tmp_path, rows, message):
    result = annotations_of(tmp_path, *rows)["annotations"]
    assert not result.ok and message in result.message


def test_many_crowds_are_a_note_and_few_are_none(tmp_path):
    crowd = {**SQUARE, "iscrowd": 1}
    moved = [{"segmentation": [[x, 5, x + 20, 5, x + 20, 25, x, 25]]} for x in range(6, 11)]
    result = annotations_of(tmp_path, *moved[:2], crowd)["annotations"]
    assert result.ok and result.warning and "1 of 3 annotations are crowds" in result.message
    MetadataCatalog.remove("pets")
    DatasetCatalog.remove("pets")
    assert "annotations" not in annotations_of(tmp_path, *moved, crowd)
