import re

import numpy as np
import pytest

from masqclip_d2.categories import load_categories
from masqclip_d2.shapes.rendering import Scene, Segment, render_image
from masqclip_d2.shapes.rendering.captions import describe

CATEGORY = {category.name: category for category in load_categories("shapes")}


def _scene(*names):
    """A scene whose segments are rows of growing height, in this order."""
    segment_map = np.concatenate([np.full((i, 10), i, np.uint8) for i in range(1, len(names) + 1)])
    segments = tuple(Segment(CATEGORY[name], 20.0 * CATEGORY[name].isthing) for name in names)
    return Scene(np.zeros((*segment_map.shape, 3), np.uint8), segment_map, segments)


def _captions(scene, count=300):
    rng = np.random.default_rng(0)
    return [describe(rng, scene) for _ in range(count)]


def test_one_thing_is_always_named_and_its_background_often():
    captions = _captions(_scene("grass", "dotted star"))
    assert all("dotted star" in caption for caption in captions)
    assert 0.3 < np.mean(["grass" in caption for caption in captions]) < 0.8
    assert "dotted star" in captions  # the name alone, like a prompt
    assert "a dotted star" in captions
    assert "a photo of a dotted star on grass" in _captions(_scene("grass", "dotted star"), 3000)
    assert len(set(captions)) > 30


@pytest.mark.parametrize(
    "names, phrase",
    [
        (["plain cross"] * 2, "two plain crosses"),
        (["striped circle"] * 3, "three striped circles"),
        (["ringed square"] * 5, "several ringed squares"),
    ],
)
def test_equal_things_are_counted(names, phrase):
    assert all(phrase in caption for caption in _captions(_scene("sky", *names), 50))


def test_at_most_four_kinds_are_named_the_most_visible_ones():
    names = ["plain circle", "dotted circle", "plain star", "plain cross", "ringed circle", "striped square"]
    for caption in _captions(_scene("sand", *names), 50):
        assert "plain circle" not in caption
        assert "dotted circle" not in caption
        assert all(name in caption for name in names[2:])


def test_the_background_is_the_largest_stuff():
    # "brick" is the last and so the largest of the regions.
    named = [c for c in _captions(_scene("sky", "plain star", "brick")) if "brick" in c or "sky" in c]
    assert named
    assert not any("sky" in caption for caption in named)


def test_stuff_alone():
    captions = _captions(_scene("water"))
    assert {"water", "a body of water", "a photo of water"} <= set(captions)
    assert all("water" in caption for caption in captions)


def test_a_scene_without_segments_has_a_caption():
    assert _captions(_scene_without_segments(), 1) == ["an image of nothing"]


def _scene_without_segments():
    return Scene(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), ())


def test_pretraining_captions_describe_the_scene_and_use_every_word():
    words = set()
    for index in range(250):
        scene, caption = render_image("captions", index, seed=0)
        words |= set(re.findall(r"\w+", caption))
        assert scene.image.shape == (128, 128, 3)
        things = {s.category.name for s in scene.segments if s.category.isthing}
        assert len([s for s in scene.segments if s.category.isthing]) <= 3
        assert all(name in caption or f"{name}s" in caption for name in things)
    attributes = [category.attributes for category in CATEGORY.values() if category.isthing]
    assert {a["pattern"] for a in attributes} | {a["shape"] for a in attributes} <= words
    assert {"grass", "water", "sand", "brick", "sky", "wood"} <= words
