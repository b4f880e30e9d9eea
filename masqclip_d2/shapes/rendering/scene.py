"""Renders one scene of the Shapes world: patterned shapes and distractors over textured stuff.

Input: a random generator and the content of the scene. Output: a `Scene` with the image, the segment of each pixel and
the category of each segment.

Difficulties: colours do not depend on the category of a thing; an object's colours may be close to each other or to its
background; objects are cut off by the frame and occlude each other; small ones lose their pattern; some textures
resemble patterns; there are specks and lines without a label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ...categories import Category, load_categories
from .canvas import Canvas, Color, Patch, Segment
from .frame import Frame
from .objects import (
    SCENE_SIZES,
    SizeRanges,
    clear_colors,
    full_area,
    light_and_dark_colors,
    line,
    object_colors,
    patterned_object,
    random_object_size,
    speck,
)
from .textures import TEXTURES, smooth_noise

MIN_VISIBLE_AREA = 16  # square units; about the smallest crescent
MIN_VISIBLE_FRACTION = 0.35  # share of the object's area, so that labelled objects are recognizable
_PLACEMENT_TRIES = 4
_PORTRAIT_SIZE = (0.4, 0.97)  # share of the frame's shorter side
_PORTRAIT_SHIFT = 0.125  # share of the frame, from its centre
_MAX_SHADING = 0.18  # change of brightness from an object's centre to its side


@dataclass(frozen=True)
class Scene:
    """A rendered scene.

    Args:
        image: (H, W, 3) uint8 RGB.
        segment_map: (H, W) uint8; 0 is void (a distractor), i > 0 is `segments[i - 1]`, which has 16 pixels or more.
        segments: stuff by descending area, then things in drawing order.
    """

    image: NDArray[np.uint8]
    segment_map: NDArray[np.uint8]
    segments: tuple[Segment, ...]


def render_scene(
    rng: Generator,
    frame: Frame,
    num_things: int,
    num_stuff: int,
    num_distractors: int,
    object_sizes: SizeRanges = SCENE_SIZES,
    clear: bool = False,
    easy: bool = False,
) -> Scene:
    """Render a scene.

    Args:
        rng: the only source of randomness; the same state renders the same scene.
        frame: size and pixels per unit.
        num_things: number of things to place; one that finds no place in four tries is skipped.
        num_stuff: 1 to 6 different kinds of stuff.
        num_distractors: specks and lines without a label, behind the things.
        object_sizes: ranges of the things' longer sides in units.
        clear: draw things in colours far from each other and from their background.
        easy: draw things upright, light with a dark second color.
    """
    canvas = Canvas(frame, *_draw_stuff(rng, frame, num_stuff))
    for _ in range(num_distractors):
        _draw_distractor(rng, canvas)
    things = [category for category in load_categories("shapes") if category.isthing]
    for _ in range(num_things):
        category = things[rng.integers(len(things))]
        _draw_thing(rng, canvas, category, random_object_size(rng, object_sizes), clear, easy)
    return _finished(rng, canvas)


def render_portrait(rng: Generator, frame: Frame, ground: Color | None = None, easy: bool = False) -> Scene:
    """Render one large thing in the middle, in clear colors on one kind of stuff, like web images of one object.

    Args:
        rng, frame: as for `render_scene`.
        ground: one color behind the thing, void, in place of stuff.
        easy: as for `render_scene`.
    """
    if ground is None:
        canvas = Canvas(frame, *_draw_stuff(rng, frame, 1))
    else:
        image = np.broadcast_to(np.asarray(ground, dtype=np.float32), (*frame.pixels, 3)).copy()
        canvas = Canvas(frame, image, np.zeros(frame.pixels, dtype=np.uint8), [])
    things = [category for category in load_categories("shapes") if category.isthing]
    category = things[rng.integers(len(things))]
    size = min(frame.height, frame.width) * rng.uniform(*_PORTRAIT_SIZE)
    x, y = (side * (0.5 + rng.uniform(-_PORTRAIT_SHIFT, _PORTRAIT_SHIFT)) for side in (frame.width, frame.height))
    membership = patterned_object(rng, category.attributes["shape"], category.attributes["pattern"], size, easy)
    patch = Patch(canvas.frame, x, y, size / 2 * np.sqrt(2), membership)
    behind = canvas.mean_color_around(x, y, size / 2)
    first, second = light_and_dark_colors(rng) if easy else clear_colors(rng, behind)
    patch.paint(canvas, first, second, rng.uniform(-_MAX_SHADING, _MAX_SHADING, 2) / (size / 2))
    canvas.add(patch, Segment(category, size))
    return _finished(rng, canvas)


def _draw_stuff(
    rng: Generator, frame: Frame, num_stuff: int
) -> tuple[NDArray[np.floating], NDArray[np.uint8], list[Segment]]:
    """Fill the frame with regions with wavy borders, each with one kind of stuff."""
    kinds = [category for category in load_categories("shapes") if not category.isthing]
    chosen = [kinds[index] for index in rng.choice(len(kinds), num_stuff, replace=False)]
    if num_stuff == 1:
        region = np.zeros(frame.pixels, dtype=np.uint8)
    else:
        region = _wavy_regions(rng, frame, num_stuff)
    image = np.empty((*frame.pixels, 3), dtype=np.float32)
    for index, kind in enumerate(chosen):
        texture = TEXTURES[kind.name](rng, frame)
        image = texture if num_stuff == 1 else np.where((region == index)[..., None], texture, image)
    order = np.argsort(-np.bincount(region.ravel(), minlength=num_stuff), kind="stable")
    new_label = np.empty(num_stuff, dtype=np.uint8)
    new_label[order] = np.arange(1, num_stuff + 1)
    return image, new_label[region], [Segment(chosen[index], 0.0) for index in order]


def _wavy_regions(rng: Generator, frame: Frame, count: int) -> NDArray[np.uint8]:
    """Cut the frame into `count` bands across a random direction, with noisy borders: (H, W), values 0..count-1."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = frame.y, frame.x
    height = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    height = height + smooth_noise(rng, frame, (35, 35)) * np.float32(rng.uniform(20, 55))
    height += smooth_noise(rng, frame, (9, 9)) * np.float32(rng.uniform(0, 8))
    # Cut points, as shares of the frame: evenly spaced, moved by at most a third of a band.
    cuts = (np.arange(1, count) + rng.uniform(-1 / 3, 1 / 3, count - 1)) / count
    return np.digitize(height, np.quantile(height, cuts)).astype(np.uint8)


def _draw_thing(rng: Generator, canvas: Canvas, category: Category, size: float, clear: bool, easy: bool) -> None:
    """Draw a thing where it is visible and no earlier thing becomes too occluded; skip it if no such place is found."""
    pattern = category.attributes["pattern"]
    membership = patterned_object(rng, category.attributes["shape"], pattern, size, easy)
    unit = canvas.frame.scale**2  # pixels per square unit
    min_area = max(MIN_VISIBLE_AREA, MIN_VISIBLE_FRACTION * full_area(membership, size)) * unit
    for _ in range(_PLACEMENT_TRIES):
        x, y = rng.uniform(0, canvas.frame.width), rng.uniform(0, canvas.frame.height)
        patch = Patch(canvas.frame, x, y, size / 2 * np.sqrt(2), membership)
        if patch.mask.sum() < min_area or not _leaves_others_visible(canvas, patch):
            continue
        behind = canvas.mean_color_around(x, y, size / 2)
        if easy:
            first, second = light_and_dark_colors(rng)
        else:
            first, second = clear_colors(rng, behind) if clear else object_colors(rng, behind, pattern == "plain")
        shade = rng.uniform(-_MAX_SHADING, _MAX_SHADING, 2) / (size / 2)
        patch.paint(canvas, first, second, shade)
        canvas.add(patch, Segment(category, size))
        return


def _leaves_others_visible(canvas: Canvas, patch: Patch) -> bool:
    covered = canvas.covered_areas(patch)
    for label, segment in enumerate(canvas.segments, start=1):
        if segment.object_size == 0 or covered[label] == 0:
            continue
        left = canvas.areas[label] - covered[label]
        if left < max(MIN_VISIBLE_AREA * canvas.frame.scale**2, MIN_VISIBLE_FRACTION * canvas.full_areas[label]):
            return False
    return True


def _draw_distractor(rng: Generator, canvas: Canvas) -> None:
    """Draw a speck or a thin line in one colour; its pixels become void."""
    x, y = rng.uniform(0, canvas.frame.width), rng.uniform(0, canvas.frame.height)
    if rng.random() < 0.5:
        radius = rng.uniform(1.5, 4.0)
        membership = speck(rng, radius)
    else:
        radius = rng.uniform(5.0, 18.0)
        membership = line(rng, radius)
    patch = Patch(canvas.frame, x, y, radius + 2, membership)
    color = rng.uniform(0.03, 0.97, 3).astype(np.float32)
    patch.paint(canvas, color, color, np.zeros(2))
    canvas.make_void(patch)


def _finished(rng: Generator, canvas: Canvas) -> Scene:
    image = _photograph(rng, canvas.image, canvas.frame.scale)
    min_area = MIN_VISIBLE_AREA * canvas.frame.scale**2
    return Scene(image, *_drop_remnants(canvas.segment_map, canvas.segments, min_area))


def _photograph(rng: Generator, image: NDArray[np.floating], scale: int) -> NDArray[np.uint8]:
    """Apply uneven light, a color cast, sometimes blur and noise; return (H, W, 3) uint8."""
    height, width = image.shape[:2]
    slope_x, slope_y = rng.uniform(-0.25, 0.25, 2)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = np.float32(rng.uniform(0.85, 1.1)) + np.float32(slope_x) * x + np.float32(slope_y) * y
    cast = rng.uniform(0.92, 1.08, 3).astype(np.float32)
    image = image * (light[..., None] * cast)
    if rng.random() < 0.3:
        side = np.float32(rng.uniform(0.10, 0.25))
        for _ in range(scale**2):  # variances add: the same width in units
            image = _blurred(image, side)
    if rng.random() < 0.6:
        noise = rng.standard_normal((height, width), dtype=np.float32) * np.float32(rng.uniform(0.005, 0.03))
        image = image + noise[..., None]
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _blurred(image: NDArray[np.floating], side: np.float32) -> NDArray[np.floating]:
    """Apply the three-tap filter (side, 1 - 2 side, side) along both axes."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[1:-1] * (1 - 2 * side) + (padded[:-2] + padded[2:]) * side
    return rows[:, 1:-1] * (1 - 2 * side) + (rows[:, :-2] + rows[:, 2:]) * side


def _drop_remnants(
    segment_map: NDArray[np.uint8], segments: list[Segment], min_area: int
) -> tuple[NDArray[np.uint8], tuple[Segment, ...]]:
    """Make remnants of stuff below `min_area` pixels void, and number the segments without gaps."""
    areas = np.bincount(segment_map.ravel(), minlength=len(segments) + 1)[1:]
    kept = np.flatnonzero(areas >= min_area)
    new_label = np.zeros(len(segments) + 1, dtype=np.uint8)
    new_label[kept + 1] = np.arange(1, len(kept) + 1)
    return new_label[segment_map], tuple(segments[index] for index in kept)
