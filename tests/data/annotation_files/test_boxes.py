import pytest

from masqclip_d2.data.annotation_files.boxes import BoxCheck, mask_extent

HW = (64, 96)
MASK = (50.0, 30.0, 86.0, 58.0)  # x1, y1, x2, y2
OWN = [50, 30, 36, 28]


@pytest.mark.parametrize(
    "box, expected, message",
    [
        (OWN, OWN, ""),
        ([51.5, 29.2, 34, 30], [51.5, 29.2, 34, 30], ""),  # drawn by hand
        ([40, 24, 46, 34], [40, 24, 46, 34], ""),  # with what hides the object
        ([str(value) for value in OWN], OWN, ""),
        (None, OWN, ""),
        ([], OWN, ""),
        ([50, 30, 86, 58], OWN, r"look like x1, y1, x2, y2 in place of x, y, width, height, .*: 1 \(annotation 7\)"),
        (
            [0.5, 0.4, 0.3, 0.4],
            OWN,
            r"do not fit their masks, .*: 1 .annotation 7.; the first has \[0.5, .*\] = \[50, 30, 36, 28\]",
        ),
        ([0, 0, 10, 10], OWN, "Boxes that do not fit their masks"),
        ([50, 30, -36, -28], OWN, "Boxes that do not fit their masks"),
        ([float("nan")] * 4, OWN, "Boxes that do not fit their masks"),
        ([1e308] * 4, OWN, "Boxes that do not fit their masks"),
        ([50, 30, 36], OWN, "Boxes that do not fit their masks"),
        (5, OWN, "Boxes that do not fit their masks"),
    ],
)
def test_a_box_that_does_not_fit_its_mask_is_replaced(box, expected, message):
    import re

    check, annotation = BoxCheck(), {"id": 7, "bbox": box}
    check.correct(annotation, MASK, HW)
    assert annotation["bbox"] == expected
    assert re.search(message, check.sentences()[0]) if message else check.sentences() == []


def test_a_box_beyond_the_image_is_compared_inside_of_it():
    annotation = {"id": 7, "bbox": [-20, -10, 60, 50]}
    BoxCheck().correct(annotation, (-20, -10, 40, 40), HW)
    assert annotation["bbox"] == [-20, -10, 60, 50]


@pytest.mark.parametrize(
    "segmentation", [[[2, 1, 5, 1, 5, 3, 2, 3]], {"size": [4, 6], "counts": [9, 2, 2, 2, 2, 2, 5]}]
)
def test_extent_of_a_mask(segmentation):
    assert mask_extent(segmentation, (4, 6)) == (2, 1, 5, 3)
