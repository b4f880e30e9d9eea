"""Visualizations of a result."""

from dataclasses import replace

import numpy as np
import pytest

from masqclip_d2.results import Segment, Segmentation
from masqclip_d2.results.colors import category_colors, instance_colors
from masqclip_d2.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_names("cat,dog", stuff="grass")


def mask_of(columns, hw=(4, 6)):
    mask = np.zeros(hw, dtype=bool)
    mask[:, columns] = True
    return mask


def test_colors_of_the_vocabulary_are_drawn():
    vocabulary = Vocabulary(("a", "b"), (False, False), colors=(None, (255, 0, 0)))
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


def two_cats():
    masks = np.zeros((2, 480, 640), dtype=bool)
    masks[0, 40:440, 20:300] = True
    masks[1, 40:440, 340:620] = True
    segments = [Segment("cat", 0, True, 0.9, mask) for mask in masks]
    return Segmentation(np.zeros((480, 640, 3), dtype=np.uint8), VOCABULARY, "panoptic", segments)


def test_masks_have_the_color_of_their_category_and_instances_differ_in_shade():
    drawing = two_cats().draw(alpha=1.0, labels=False)
    first, second = drawing[100, 100], drawing[100, 500]
    assert tuple(first) == category_colors(VOCABULARY)[0] and not drawing[20, 320].any()
    assert [tuple(first), tuple(second)] == instance_colors(VOCABULARY, [0, 0]) and tuple(first) != tuple(second)
    chosen = two_cats().draw(alpha=1.0, labels=False, colors=[(1, 2, 3), (4, 5, 6)])
    assert tuple(chosen[100, 100]) == (1, 2, 3) and tuple(chosen[100, 500]) == (4, 5, 6)


def test_a_segment_keeps_its_color_when_others_are_not_drawn():
    weak_first = replace(two_cats(), task="instance")
    weak_first.segments[0].score = 0.1
    drawing = weak_first.draw(alpha=1.0, labels=False)
    assert tuple(drawing[100, 500]) == instance_colors(VOCABULARY, [0, 0])[1] and not drawing[100, 100].any()


def test_opacity_names_and_legend():
    found = two_cats()
    half, full = found.draw(alpha=0.5, labels=False), found.draw(alpha=1.0, labels=False)
    assert abs(int(half[100, 100].max()) - int(full[100, 100].max()) / 2) <= 2
    plain, named, scored = (found.draw(labels=labels) for labels in (False, "name", True))
    assert not np.array_equal(plain, named) and not np.array_equal(named, scored)
    with_legend = found.draw(legend=True)
    assert with_legend.shape[0] == 480 and with_legend.shape[1] > 640
    assert np.array_equal(with_legend[:, :640], scored)
    swatch = (with_legend[:, 640:] == category_colors(VOCABULARY)[0]).all(axis=2)
    assert swatch.sum() > 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, r"alpha is 1.5; expected a number in \[0, 1\]"),
        ({"labels": "score"}, "labels is 'score'; expected True, False or 'name'"),
        ({"colors": [(0, 0, 0)]}, "1 colors for 2 segments"),
    ],
)
def test_wrong_settings_of_drawings(settings, message):
    with pytest.raises(ValueError, match=message):
        two_cats().draw(**settings)
