"""Visualizations of a result."""

from dataclasses import replace

import numpy as np
import pytest

from masqclip_d2.results import Segment, Segmentation
from masqclip_d2.results.colors import category_colors
from masqclip_d2.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_names("cat,dog", stuff="grass")


def mask_of(columns, hw=(4, 6)):
    mask = np.zeros(hw, dtype=bool)
    mask[:, columns] = True
    return mask


def test_colors_of_the_vocabulary_are_drawn():
    vocabulary = Vocabulary(("a", "b"), (False, False), colors=(None, (255, 0, 0)))
    chosen = category_colors(2, vocabulary.colors)
    assert chosen[0] == category_colors(2)[0] == category_colors(9)[0] and chosen[1] == (1.0, 0.0, 0.0)
    whole = Segment("b", 1, False, 1.0, np.ones((480, 480), dtype=bool))
    drawing = Segmentation(np.zeros((480, 480, 3), dtype=np.uint8), vocabulary, "semantic", [whole]).draw()
    red, green, blue = drawing.reshape(-1, 3).mean(axis=0)  # the name is written in the middle
    assert red > 60 and green < 20 and blue < 20


@pytest.mark.parametrize("hw", [(4, 6), (500, 490)])
def test_drawings_are_at_least_480_pixels_wide_and_high(hw):
    empty = Segmentation(np.full((*hw, 3), 77, dtype=np.uint8), VOCABULARY, "panoptic")
    drawing = empty.draw()
    assert min(drawing.shape[:2]) == max(480, min(hw)) and drawing.dtype == np.uint8
    assert abs(drawing.mean() - 77) < 2


@pytest.mark.parametrize("hw", [(1, 300), (12000, 100)])
def test_drawings_of_narrow_images_stay_small(hw):
    drawing = Segmentation(np.zeros((*hw, 3), dtype=np.uint8), VOCABULARY, "panoptic").draw()
    assert max(drawing.shape[:2]) == max(1920, *hw)


def test_drawings_of_large_images_are_shrunk():
    image = np.zeros((4000, 6000, 3), dtype=np.uint8)
    mask = np.zeros((4000, 6000), dtype=bool)
    mask[1000:3000, 2000:4000] = True
    found = Segmentation(image, VOCABULARY, "panoptic", [Segment("cat", 0, True, 1.0, mask)])
    drawing = found.draw()
    assert abs(drawing.shape[0] - 3266) <= 1 and abs(drawing.shape[1] - 4899) <= 1
    assert drawing[1633, 2300].max() > 0 and drawing[200, 200].max() == 0


def test_instances_are_drawn_from_a_score_of_0_3_on():
    segments = [Segment("cat", 0, True, score, mask_of([column])) for column, score in enumerate((0.9, 0.3, 0.29))]
    found = Segmentation(np.zeros((4, 6, 3), np.uint8), VOCABULARY, "instance", segments)
    assert found.drawn_segments() == segments[:2] and found.drawn_segments(0.0) == segments
    assert replace(found, task="panoptic").drawn_segments() == segments
    none_of_them = replace(found, segments=segments[2:])
    assert np.array_equal(none_of_them.draw(), replace(found, segments=[]).draw())
    assert not np.array_equal(none_of_them.draw(0.2), none_of_them.draw())
