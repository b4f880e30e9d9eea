"""Shrinking of images that exceed a size."""

import numpy as np
import pytest

from masqclip_d2.data.augmentation import ShrinkLongestEdge


@pytest.mark.parametrize(
    ("size", "expected"), [((8, 6), (8, 6)), ((10, 6), (8, 5)), ((1, 100), (1, 8)), ((9, 9), (8, 8))]
)
def test_only_larger_images_shrink(size, expected):
    image = np.full((*size, 3), 7, dtype=np.uint8)
    shrunk = ShrinkLongestEdge(8).get_transform(image).apply_image(image)
    assert shrunk.shape == (*expected, 3) and (shrunk == 7).all()
