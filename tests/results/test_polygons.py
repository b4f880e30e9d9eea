"""Polygons of masks: exact boundaries of random masks with holes and several parts."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from masqclip_d2.results.polygons import one_outline, pixel_centers, pixel_edges, with_bridges

RING = np.zeros((8, 9), dtype=bool)
RING[1:7, 1:6] = True
RING[3:5, 3:5] = False


def by_pycocotools(polygons, hw):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([one.ravel().tolist() for one in polygons], *hw)))


def by_opencv(outline, hw):
    canvas = np.zeros(hw, np.uint8)
    cv2.fillPoly(canvas, [outline.astype(np.int32)], 1)
    return canvas


def signed_area(outline):
    x, y = outline.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def random_masks(count=150):
    generator = np.random.default_rng(0)
    for _ in range(count):
        hw = generator.integers(1, 14, 2)
        yield generator.random(hw) < generator.choice([0.3, 0.5, 0.7, 0.9])


def test_polygons_along_pixel_edges_are_exact():
    for mask in random_masks():
        parts = pixel_edges(mask)
        num_parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
        assert len(parts) == num_parts
        assert sum(signed_area(one) for part in parts for one in (part.outline, *part.holes)) == mask.sum()
        assert all(signed_area(part.outline) > 0 for part in parts)
        if mask.any():
            assert np.array_equal(by_pycocotools([with_bridges(part) for part in parts], mask.shape), mask)


def test_polygons_through_pixel_centers_cover_the_mask():
    for mask in random_masks(60):
        if mask.any():
            drawn = by_opencv(one_outline(pixel_centers(mask)), mask.shape)
            assert drawn[mask].all()  # what is more lies below bridges


def test_a_hole_and_its_corners():
    [part] = pixel_edges(RING)
    assert part.outline.tolist() == [[1, 1], [6, 1], [6, 7], [1, 7]]
    assert len(part.holes) == 1 and signed_area(part.holes[0]) == -4
    [centers] = pixel_centers(RING)
    assert centers.outline.min() == 1 and centers.outline.max() == 6 and len(centers.holes) == 1
    drawn = by_opencv(one_outline([centers]), RING.shape)
    assert np.array_equal(drawn, RING)


def test_pixels_that_touch_at_a_corner_are_two_parts():
    for mask in (np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]):
        assert [len(part.outline) for part in pixel_edges(mask)] == [4, 4]


def test_several_parts_in_one_outline():
    mask = np.zeros((20, 60), dtype=bool)
    for left in (2, 20, 40):
        mask[5:15, left : left + 10] = True
        mask[8:12, left + 3 : left + 6] = False
    parts = pixel_centers(mask)
    assert len(parts) == 3 and all(len(part.holes) == 1 for part in parts)
    drawn = by_opencv(one_outline(parts), mask.shape)
    assert drawn[mask].all() and (drawn & ~mask).sum() <= 30  # two bridges of 10 pixels, and those to the holes


def test_a_tolerance_leaves_fewer_corners_and_almost_the_same_area():
    rows, columns = np.mgrid[:100, :100]
    disk = (rows - 50) ** 2 + (columns - 50) ** 2 < 40**2
    [exact], [rough] = pixel_edges(disk), pixel_edges(disk, tolerance=1.0)
    assert len(rough.outline) < len(exact.outline) / 4
    assert signed_area(rough.outline) == pytest.approx(disk.sum(), rel=0.02)


@pytest.mark.parametrize("polygons", [pixel_edges, pixel_centers])
def test_an_empty_mask_has_no_parts(polygons):
    assert polygons(np.zeros((3, 4), dtype=bool)) == []
