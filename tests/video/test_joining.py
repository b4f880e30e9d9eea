import numpy as np

from masqclip_d2 import Segment, Vocabulary
from masqclip_d2.results.colors import category_colors
from masqclip_d2.video.joining import SegmentJoiner

ANIMALS = Vocabulary.from_names("cat,dog,grass", "grass")


def box(category, left, top=0, side=20, image_hw=(60, 120)):
    mask = np.zeros(image_hw, bool)
    mask[top : top + side, left : left + side] = True
    return Segment(ANIMALS.names[category], category, bool(ANIMALS.is_thing[category]), 0.9, mask)


def joiner(task="panoptic", **settings):
    return SegmentJoiner(ANIMALS, task, **settings)


def test_objects_that_move_keep_number_and_color_in_any_order():
    join = joiner()
    numbers, colors = join.join([box(0, 0), box(0, 50), box(1, 80, 30)])
    assert len(set(numbers)) == len(set(colors)) == 3
    for step in range(1, 10):
        later = join.join([box(1, 80, 30), box(0, 50 + 2 * step), box(0, 2 * step)])
        assert later == (numbers[::-1], colors[::-1])


def test_pairs_have_the_greatest_sum_of_overlaps():
    join = joiner()
    (first, second), _ = join.join([box(0, 0), box(0, 12)])
    # Both overlap the second object most; each one continues another object all the same.
    assert join.join([box(0, 10), box(0, 18)])[0] == [first, second]


def test_other_categories_and_masks_far_away_are_new():
    join = joiner()
    (cat,), (color,) = join.join([box(0, 0)])
    (dog,), _ = join.join([box(1, 0)])
    (far,), (far_color,) = join.join([box(0, 60)])
    assert len({cat, dog, far}) == 3
    assert color == category_colors(ANIMALS)[0] != far_color  # the first cat may return


def test_an_object_may_be_missing_for_a_few_frames_only():
    for gap, returns in ((5, True), (6, False)):
        join = joiner(max_gap=5)
        (number,), _ = join.join([box(0, 0)])
        for _ in range(gap):
            join.join([])
        assert (join.join([box(0, 2)])[0] == [number]) is returns


def test_stuff_and_semantic_segments_are_one_per_category_wherever_they_are():
    join = joiner()
    assert join.join([box(2, 0)]) == join.join([box(2, 90, 30)])
    join = joiner("semantic")
    assert join.join([box(0, 0)]) == join.join([box(0, 90, 30)])
    join = joiner("instance")
    assert join.join([box(2, 0), box(2, 90)])[0] == [1, 2]


def test_memory_is_that_of_the_last_frames():
    join = joiner(max_gap=2)
    for step in range(40):
        join.join([box(0, 23 * step % 100, 20 * (step % 3))])
    assert len(join._objects) <= 4


def test_masks_of_large_frames_are_compared_at_fewer_pixels():
    join = joiner()
    large = (1080, 1920)
    numbers, _ = join.join([box(0, 100, 100, 300, large), box(0, 900, 100, 300, large)])
    assert join.join([box(0, 910, 100, 300, large), box(0, 110, 100, 300, large)])[0] == numbers[::-1]
    assert max(len(one.mask) for one in join._objects) < 300_000


def test_empty_masks_continue_nothing():
    join = joiner()
    assert join.join([box(0, 0, side=0)])[0] == [1]
    assert join.join([box(0, 0, side=0)])[0] == [2]
