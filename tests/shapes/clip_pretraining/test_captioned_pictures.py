import numpy as np
import pytest

from masqclip_d2.shapes.clip_pretraining.captioned_pictures import PictureRenderer


@pytest.fixture(params=[1, 2])
def scale(request):
    return request.param


def test_whole_pictures_have_one_caption(scale):
    renderer = PictureRenderer(scale, seed=0)
    for kind, side in (("closeup", 64), ("scene", 128)):
        picture = renderer.render(kind)
        assert picture.image.shape == (side * scale, side * scale, 3) and picture.image.dtype == np.uint8
        assert len(picture.captions) == 1 and picture.captions[0].strip() and picture.regions is None


def test_regions_are_disjoint_and_have_a_caption_each(scale):
    renderer = PictureRenderer(scale, seed=0)
    for kind in ("collage", "canvas"):
        for _ in range(10):
            picture = renderer.render(kind)
            assert picture.image.shape == (128 * scale, 128 * scale, 3)
            assert picture.regions.shape == (len(picture.captions), 128 * scale, 128 * scale)
            assert picture.regions.sum(axis=0).max() == 1
            assert picture.regions.any(axis=(1, 2)).all()
            assert len(picture.captions) == 4 if kind == "collage" else 3 <= len(picture.captions) <= 4


def test_a_canvas_is_all_region_and_its_grounds_come_first():
    renderer = PictureRenderer(1, seed=0)
    pictures = [renderer.render("canvas") for _ in range(20)]
    covered = [picture.regions.any(axis=0).mean() for picture in pictures]
    assert min(covered) > 0.97 and {len(picture.captions) for picture in pictures} == {3, 4}
    stuff = ("grass", "water", "sand", "brick", "sky", "wood")
    assert all(any(word in picture.captions[0] for word in stuff) for picture in pictures)


def test_the_same_seed_renders_the_same_pictures():
    first, second, other = (PictureRenderer(1, seed) for seed in (3, 3, 4))
    for kind in ("closeup", "collage", "canvas", "scene"):
        one, same = first.render(kind), second.render(kind)
        assert np.array_equal(one.image, same.image) and one.captions == same.captions
    assert not np.array_equal(other.render("closeup").image, PictureRenderer(1, 3).render("closeup").image)


def test_some_closeups_have_a_ground_of_one_color():
    renderer = PictureRenderer(1, seed=0)
    corners = [renderer.render("closeup").image[:4, :4].reshape(-1, 3) for _ in range(200)]
    black = sum(corner.max() <= 12 for corner in corners)
    assert 1 <= black <= 30  # 3 % of the close-ups, with some noise
