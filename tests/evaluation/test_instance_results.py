import pytest

from masqclip_d2.coco_masks import from_run_length
from masqclip_d2.evaluation.instance_results import checked_result, find

RESULT = {"image_id": 3, "category_id": 1, "score": 0.5, "bbox": [0, 0, 2, 2], "segmentation": {}}
BOTH = ("bbox", "segm")


def test_right_results_are_unchanged():
    result = {**RESULT, "segmentation": {"size": [2, 3], "counts": "06"}}
    assert checked_result(result, (2, 3), BOTH, "result 0") == result


def test_polygons_counts_and_text_are_used():
    square = [0, 0, 2, 0, 2, 2, 0, 2]
    for segmentation in ([square], square, {"size": [2, 3], "counts": [0, 4, 2]}):
        result = {**RESULT, "score": "0.5", "bbox": ["0", 0, 2.0, 2], "segmentation": segmentation}
        found = checked_result(result, (2, 3), BOTH, "result 0")
        assert found["score"] == 0.5 and found["bbox"] == [0, 0, 2, 2]
        assert from_run_length(found["segmentation"]).tolist() == [[1, 1, 0]] * 2


def test_only_what_is_evaluated_is_required():
    assert checked_result({"score": 1, "bbox": [0, 0, 1, 1]}, (2, 3), ["bbox"], "result 0")
    with pytest.raises(ValueError, match="^result 0 has no segmentation; results have"):
        checked_result({"score": 1, "bbox": [0, 0, 1, 1]}, (2, 3), ["segm"], "result 0")


@pytest.mark.parametrize("key, expected", [(1, "a"), (2, None), ([], None), (True, None), (1.0, None), ("1", None)])
def test_keys_from_files(key, expected):
    assert find({1: "a"}, key) == expected
