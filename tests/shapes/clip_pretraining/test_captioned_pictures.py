import numpy as np
import pytest

from masqclip_d2.shapes.clip_pretraining.captioned_pictures import PictureRenderer


@pytest.fixture(params=[1, 2])
def scale(request):
    return request.param


def test_whole_pictures_have_one_caption(scale):
    renderer = PictureRenderer(scale, seed=0)
    for kind, side in (("closeup", 64), ("scene", 128)):
        picture = renderer.render(kind, 0)
        assert picture.image.shape == (side * scale, side * scale, 3) and picture.image.dtype == np.uint8
        assert len(picture.captions) == 1 and picture.captions[0].strip() and picture.regions is None


def test_regions_are_disjoint_and_have_a_caption_each(scale):
    renderer = PictureRenderer(scale, seed=0)
    for kind in ("collage", "canvas"):
        for position in range(10):
            picture = renderer.render(kind, position)
            assert picture.image.shape == (128 * scale, 128 * scale, 3)
            assert picture.regions.shape == (len(picture.captions), 128 * scale, 128 * scale)
            assert picture.regions.sum(axis=0).max() == 1
            assert picture.regions.any(axis=(1, 2)).all()
            assert len(picture.captions) == 4 if kind == "collage" else 3 <= len(picture.captions) <= 4


def test_a_canvas_is_all_region_and_its_grounds_come_first():
    renderer = PictureRenderer(1, seed=0)
    pictures = [renderer.render("canvas", position) for position in range(20)]
    covered = [picture.regions.any(axis=0).mean() for picture in pictures]
    assert min(covered) > 0.97 and {len(picture.captions) for picture in pictures} == {3, 4}
    stuff = ("grass", "water", "sand", "brick", "sky", "wood")
    assert all(any(word in picture.captions[0] for word in stuff) for picture in pictures)


def test_a_picture_depends_on_seed_and_position_alone():
    """So that a resumed training, whose renderer has kept nothing yet, gets the pictures of an unbroken one."""
    first, second = PictureRenderer(1, 3), PictureRenderer(1, 3)
    kinds = ("closeup", "collage", "canvas", "scene")
    before = {kind: first.render(kind, position=2000) for _ in range(2) for kind in kinds}
    for kind in reversed(kinds):
        same = second.render(kind, position=2000)
        assert np.array_equal(before[kind].image, same.image) and before[kind].captions == same.captions
        for other in (first.render(kind, position=2001), PictureRenderer(1, 4).render(kind, position=2000)):
            assert before[kind].image.shape != other.image.shape or not np.array_equal(before[kind].image, other.image)


def test_parts_are_rendered_once():
    renderer = PictureRenderer(1, seed=0)
    closeups = [renderer.render("closeup", position) for position in range(40)]
    assert renderer.render("closeup", 7) is closeups[7]
    renderer.render("canvas", 5000)
    kept = dict(renderer._grounds)
    renderer.render("canvas", 5000)
    assert 1 <= len(kept) <= 2 and all(renderer._grounds[position] is picture for position, picture in kept.items())


def test_some_closeups_have_a_ground_of_one_color():
    renderer = PictureRenderer(1, seed=0)
    corners = [renderer.render("closeup", position).image[:4, :4].reshape(-1, 3) for position in range(200)]
    black = sum(corner.max() <= 12 for corner in corners)
    assert 1 <= black <= 30  # 3 % of the close-ups, with some noise
