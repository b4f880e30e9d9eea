import numpy as np
import pytest

from masqclip_d2.categories import load_categories
from masqclip_d2.shapes.rendering import Frame, render_image, render_scene
from masqclip_d2.shapes.rendering.canvas import Canvas, Patch, Segment
from masqclip_d2.shapes.rendering.objects import (
    SCENE_SIZES,
    full_area,
    object_colors,
    patterned_object,
    random_object_size,
)
from masqclip_d2.shapes.rendering.outlines import OUTLINES
from masqclip_d2.shapes.rendering.patterns import PATTERNS
from masqclip_d2.shapes.rendering.scene import render_portrait
from masqclip_d2.shapes.rendering.textures import TEXTURES, smooth_noise

# Areas in units of half the longer side, from geometry; the crescent's by the lens formula of two circles.
_LENS = (
    np.arccos((0.62**2 + 1 - 0.84**2) / (2 * 0.62))
    + 0.84**2 * np.arccos((0.62**2 + 0.84**2 - 1) / (2 * 0.62 * 0.84))
    - 0.5 * np.sqrt((-0.62 + 1 + 0.84) * (0.62 + 1 - 0.84) * (0.62 - 1 + 0.84) * (0.62 + 1 + 0.84))
)
AREAS = {
    "circle": np.pi,
    "square": 4.0,
    "triangle": np.sqrt(3),
    "star": 5 * 0.45 * np.sin(np.pi / 5) / np.sin(2 * np.pi / 5) ** 2,
    "cross": 8 * 0.36 - 4 * 0.36**2,
    "crescent": np.pi - _LENS,
}


def _grid(samples=400, half=1.25):
    axis = ((np.arange(samples, dtype=np.float32) + 0.5) / samples * 2 - 1) * np.float32(half)
    return (*np.broadcast_arrays(axis[None], axis[:, None]), (2 * half / samples) ** 2)


@pytest.mark.parametrize("shape", OUTLINES)
def test_outline_area_and_extent(shape):
    x, y, cell = _grid()
    inside = OUTLINES[shape](x, y)
    assert inside.sum() * cell == pytest.approx(AREAS[shape], rel=0.01)
    extent = max(np.ptp(x[inside]), np.ptp(y[inside]))
    assert extent == pytest.approx(2.0, abs=0.03)


@pytest.mark.parametrize("pattern", sorted(set(PATTERNS) - {"plain"}))
def test_patterns_show_both_colors_about_equally(pattern):
    u, v = (8 * grid for grid in _grid()[:2])
    assert 0.3 < PATTERNS[pattern](u, v).mean() < 0.7


def test_plain_shows_one_color():
    u, v, _ = _grid()
    assert not PATTERNS["plain"](u, v).any()


def test_the_same_state_renders_the_same_scene():
    first, second = (render_scene(np.random.default_rng(5), Frame(64, 80), 4, 2, 2) for _ in range(2))
    other = render_scene(np.random.default_rng(6), Frame(64, 80), 4, 2, 2)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.segment_map, second.segment_map)
    assert not np.array_equal(first.image, other.image)


def test_every_segment_is_visible_and_every_pixel_has_a_segment_or_is_void():
    for index in range(30):
        scene, _ = render_image("train", index, seed=1)
        areas = np.bincount(scene.segment_map.ravel())
        assert len(areas) == len(scene.segments) + 1
        assert areas[1:].min() >= 16
        assert areas[0] < 0.05 * areas.sum()
        assert scene.image.shape == (*scene.segment_map.shape, 3)
        assert all(side in (128, 144, 160, 176) for side in scene.segment_map.shape)
        stuff = [segment.category.name for segment in scene.segments if not segment.category.isthing]
        assert len(set(stuff)) == len(stuff)
        assert 1 <= len(scene.segments) - len(stuff) <= 8


def test_object_sizes_span_8_to_96_pixels_with_most_in_the_middle():
    rng = np.random.default_rng(0)
    sizes = np.array([random_object_size(rng, SCENE_SIZES) for _ in range(4000)])
    assert sizes.min() >= 8
    assert sizes.max() <= 96
    assert (sizes < 10).any()
    assert (sizes > 90).any()
    assert ((sizes >= 24) & (sizes <= 64)).mean() == pytest.approx(0.55, abs=0.03)


def test_mask_is_the_pixels_covered_at_least_half():
    """A square from x = 2.4 to 6.4: its first column is covered 0.6, so it belongs; its last 0.4, so it does not."""

    def membership(dx, dy):
        return (np.abs(dx) <= 2) & (np.abs(dy) <= 2), np.zeros(dx.shape, dtype=bool)

    patch = Patch(Frame(10, 10), 4.4, 5.0, 4.0, membership)
    canvas = Canvas(Frame(10, 10), np.zeros((10, 10, 3), np.float32), np.ones((10, 10), np.uint8), [])
    canvas.segments.append(Segment(load_categories("shapes")[40], 0.0))
    canvas.areas, canvas.full_areas = [0, 100], [0, 100]
    patch.paint(canvas, np.ones(3, np.float32), np.ones(3, np.float32), np.zeros(2))
    canvas.add(patch, Segment(load_categories("shapes")[0], 4.0))
    assert np.array_equal(np.argwhere(canvas.segment_map == 2), [(r, c) for r in (3, 4, 5, 6) for c in (2, 3, 4, 5)])
    assert canvas.areas == [0, 84, 16]
    # Three samples per pixel: 0.6 shows as 2/3, 0.4 as 1/3.
    np.testing.assert_allclose(canvas.image[4, :8, 0], [0, 0, 2 / 3, 1, 1, 1, 1 / 3, 0], atol=1e-6)


def test_full_area_of_an_object_outside_the_frame():
    rng = np.random.default_rng(0)
    assert full_area(patterned_object(rng, "square", "plain", 40.0), 40.0) == pytest.approx(40 * 40 * 0.925, rel=0.1)


def test_things_stay_visible_behind_each_other():
    """A crowded frame: whatever is drawn keeps at least 35 % of what it had when it was drawn."""
    for seed in range(5):
        scene = render_scene(np.random.default_rng(seed), Frame(128, 128), 30, 1, 0)
        for label, segment in enumerate(scene.segments, start=1):
            if segment.category.isthing:
                smallest_share = (
                    0.25 * 0.85 * AREAS[segment.category.attributes["shape"]]
                )  # of size squared, unoccluded
                visible = (scene.segment_map == label).sum()
                # In the frame at least 35 %, of which at least 35 % stays free.
                assert visible >= 0.35 * 0.35 * smallest_share * segment.object_size**2 * 0.9


@pytest.mark.parametrize("plain", [True, False])
def test_colors_have_a_minimum_contrast(plain):
    rng = np.random.default_rng(0)
    for _ in range(300):
        behind = rng.uniform(0.05, 0.95, 3).astype(np.float32)
        first, second = object_colors(rng, behind, plain)
        shown, against = (first, behind) if plain else (first, second)
        assert np.linalg.norm(shown - against) > 0.15
        assert min(first.min(), second.min()) >= 0
        assert max(first.max(), second.max()) <= 1


@pytest.mark.parametrize("kind", TEXTURES)
def test_textures_fill_the_frame(kind):
    image = TEXTURES[kind](np.random.default_rng(0), Frame(37, 53))
    assert image.shape == (37, 53, 3)
    assert image.min() >= -1e-6
    assert image.max() <= 1 + 1e-6
    assert image.std(axis=(0, 1)).max() > 0.02


def test_smooth_noise_is_smooth_and_fills_its_range():
    noise = smooth_noise(np.random.default_rng(0), Frame(200, 200), (20, 20))
    assert noise.shape == (200, 200)
    assert 0 <= noise.min() < 0.1
    assert 0.9 < noise.max() <= 1
    assert np.abs(np.diff(noise, axis=1)).max() < 1.5 / 20 + 1e-6  # steepest part of a smooth step


def test_closeups_are_small_frames_with_large_things():
    scenes = [render_image("closeups", index, seed=0)[0] for index in range(100)]
    things = [segment for scene in scenes for segment in scene.segments if segment.category.isthing]
    assert {scene.segment_map.shape for scene in scenes} == {(64, 64)}
    assert 80 < len(things) < 150
    assert min(segment.object_size for segment in things) >= 14
    assert max(segment.object_size for segment in things) <= 72


def test_portraits_show_one_whole_thing_in_the_middle():
    rng = np.random.default_rng(3)
    for _ in range(30):
        scene = render_portrait(rng, Frame(64, 64))
        stuff, thing = scene.segments
        assert (stuff.category.isthing, thing.category.isthing) == (False, True)
        mask = scene.segment_map == 2
        assert 0.35 * 64 <= thing.object_size <= 64
        assert mask[16:48, 16:48].sum() > 0.2 * mask.sum()


def test_portraits_are_most_of_the_closeups():
    scenes = [render_image("closeups", index, seed=0)[0] for index in range(100)]
    single = [scene for scene in scenes if sum(segment.category.isthing for segment in scene.segments) == 1]
    assert len(single) > 70


def test_a_larger_scale_has_more_pixels_and_the_same_sizes():
    scenes = [render_image("val", index, seed=0, scale=2)[0] for index in range(20)]
    assert all(side in (256, 288, 320, 352) for scene in scenes for side in scene.segment_map.shape)
    for scene in scenes:
        areas = np.bincount(scene.segment_map.ravel(), minlength=len(scene.segments) + 1)[1:]
        assert areas.min() >= 16 * 4
        for segment, area in zip(scene.segments, areas, strict=True):
            assert segment.object_size <= 96  # in units, as at scale 1
            assert not segment.category.isthing or area <= 1.1 * (2 * segment.object_size) ** 2
    # The share of things, over many scenes, does not depend on the scale.
    shares = []
    for scale in (1, 2):
        scenes = [render_image("train", index, seed=1, scale=scale)[0] for index in range(60)]
        is_thing = [[False] + [segment.category.isthing for segment in scene.segments] for scene in scenes]
        shares.append(
            np.mean([np.array(things)[s.segment_map].mean() for things, s in zip(is_thing, scenes, strict=True)])
        )
    assert shares[0] == pytest.approx(shares[1], abs=0.06)


def test_edges_are_anti_aliased_at_every_scale():
    def membership(dx, dy):
        return dx * dx + dy * dy <= 9, np.zeros(dx.shape, dtype=bool)

    for scale in (1, 2, 3):
        patch = Patch(Frame(10, 10, scale), 5.0, 5.0, 4.0, membership)
        assert patch.coverage.sum() == pytest.approx(np.pi * 9 * scale**2, rel=0.03)
        assert ((patch.coverage > 0.1) & (patch.coverage < 0.9)).any()


def test_portraits_on_one_color_have_no_stuff():
    ground = np.array([0.2, 0.4, 0.6], dtype=np.float32)
    scene = render_portrait(np.random.default_rng(0), Frame(64, 64), ground)
    (thing,) = scene.segments
    assert thing.category.isthing
    outside = scene.image[scene.segment_map == 0].astype(float) / 255
    assert np.abs(outside.mean(axis=0) / outside.mean() - ground / ground.mean()).max() < 0.15  # but for a color cast


def test_easy_scenes_have_large_things_in_clear_colors_and_no_distractors():
    scenes = [render_image("val", index, seed=0, easy=True)[0] for index in range(40)]
    assert {scene.segment_map.shape for scene in scenes} == {(128, 128)}
    things = [[s for s in scene.segments if s.category.isthing] for scene in scenes]
    assert {len(some) for some in things} <= {1, 2, 3, 4} and len({len(some) for some in things}) > 2
    assert min(segment.object_size for some in things for segment in some) >= 20
    assert all((scene.segment_map > 0).all() for scene in scenes)
