import numpy as np
import pytest
from pycocotools import mask as coco_mask

from masqclip_d2.coco_masks import bbox_xywh, from_run_length, from_segmentation, run_length

MASK = np.zeros((4, 6), dtype=bool)
MASK[1:3, 2:5] = True
RUNS = {"size": [4, 6], "counts": [9, 2, 2, 2, 2, 2, 5]}  # column by column
POLYGON = [[2.0, 1.0, 5.0, 1.0, 5.0, 3.0, 2.0, 3.0]]


@pytest.mark.parametrize("segmentation", [RUNS, run_length(MASK), POLYGON], ids=["runs", "compressed", "polygon"])
def test_every_encoding_of_a_mask(segmentation):
    decoded = from_segmentation(segmentation, (4, 6), "photo.jpg")
    assert decoded.dtype == np.uint8 and np.array_equal(decoded, MASK)
    if isinstance(segmentation, dict):
        assert np.array_equal(from_run_length(segmentation), MASK)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("hw", [(1, 1), (37, 53), (300, 200)])
def test_random_masks_survive_encoding(share, hw):
    mask = np.random.default_rng(0).random(hw) < share
    encoded = run_length(mask)
    assert np.array_equal(from_segmentation(encoded, hw, "x"), mask)
    assert coco_mask.area({**encoded, "counts": encoded["counts"].encode()}) == mask.sum()


@pytest.mark.parametrize(
    "segmentation, message",
    [
        (None, "annotation of photo.jpg has no mask; expected polygons or run-length encoding"),
        ([], "annotation of photo.jpg has no mask"),
        ("text", "annotation of photo.jpg has no mask"),
        ({"size": [4, 6]}, "mask of photo.jpg is damaged: it cannot be decoded .it has no 'counts'"),
        (
            {"size": [4], "counts": [24]},
            "mask of photo.jpg is damaged: .*; encode them again as|no finite numbers; export",
        ),
        (
            {"size": [4, 6], "counts": 7},
            "mask of photo.jpg is damaged: .*; encode them again as|no finite numbers; export",
        ),
        ({"size": [4, 6], "counts": [30, -6]}, "integers of at least 0"),
        ({"size": [4, 6], "counts": [1.5, 22.5]}, "integers of at least 0"),
        ([["a"]], "mask of photo.jpg is damaged: .*; encode them again as|no finite numbers; export"),
        ({"size": [4, 6], "counts": ""}, "photo.jpg is damaged: its run lengths cover 0 pixels instead of 6x4"),
        ({"size": [4, 6], "counts": run_length(MASK)["counts"][:-1]}, "photo.jpg is damaged"),
        ({"size": [4, 6], "counts": [9, 2, 2]}, "photo.jpg is damaged: its run lengths cover 13 pixels"),
        ({"size": [6, 4], "counts": [24]}, "mask of photo.jpg is 4x6 pixels, but the image is 6x4"),
    ],
)
def test_damaged_masks_are_one_sentence(segmentation, message):
    with pytest.raises(ValueError, match=message):
        from_segmentation(segmentation, (4, 6), "photo.jpg")


def test_box_of_a_mask():
    assert bbox_xywh(MASK) == [2, 1, 3, 2]
