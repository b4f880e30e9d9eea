import numpy as np

from masqclip_d2.web.drawn_masks import BRUSHES, drawn_masks


def layer(*strokes, hw=(10, 20)):
    """Strokes are (part of the picture, number of the brush, alpha)."""
    pixels = np.zeros((*hw, 4), np.uint8)
    for part, brush, alpha in strokes:
        pixels[part] = [*bytes.fromhex(BRUSHES[brush][1:]), alpha]
    return pixels


def test_each_color_is_a_mask():
    left, right, soft = np.s_[:, :5], np.s_[:, 15:], np.s_[:, 5:7]
    masks = drawn_masks([layer((left, 3, 255), (right, 0, 255), (soft, 3, 20))], (20, 40))
    assert masks.shape == (2, 20, 40)
    assert masks[0].sum() == masks[0][:, 30:].sum() == 200 and masks[1].sum() == masks[1][:, :10].sum() == 200


def test_the_upper_layer_covers_the_lower_one():
    masks = drawn_masks([layer((np.s_[:], 1, 255)), layer((np.s_[:5], 2, 255))], (10, 20))
    assert [mask.sum() for mask in masks] == [100, 100] and not (masks[0] & masks[1]).any()


def test_nothing_drawn():
    assert drawn_masks([], (3, 4)).shape == (0, 3, 4)
    assert drawn_masks([layer()], (3, 4)).shape == (0, 3, 4)
