"""Captioned pictures for the contrastive training of CLIP, rendered while it trains.

Four kinds. A close-up and a scene have one caption for the whole picture. A collage puts four close-ups next to each
other; a canvas puts two close-ups on a picture of stuff: both have one caption per region. No caption belongs to the
mask of one thing: a region is a close-up as a whole (or an ellipse of it), so that segmentation is not supervised.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..rendering import Frame, describe, render_image, render_portrait, render_scene

_CLOSEUP_SIDE, PICTURE_SIDE = 64, 128  # units
_UNIFORM_SHARE = 0.12  # share of the close-ups that show a portrait on one color
_UNIFORM_NAME_SHARE = 0.8  # share of their captions that are the name of the thing
_BLACK_OR_WHITE_SHARE = 0.5  # share of the one-colored grounds
_COLLAGE_ELLIPSE_SHARE, _CANVAS_ELLIPSE_SHARE = 0.5, 0.7  # share of the close-ups cut to an ellipse
_TWO_GROUNDS_SHARE = 0.6  # share of the canvases
_ELLIPSE_RADIUS = (22.0, 33.0)  # units
_MIN_GROUND_SHARE = 0.025  # share of a canvas that a ground must cover to count
# Collages and canvases take close-ups and grounds of recent positions; grounds, which take longer to render, only of
# every 20th.
_RECENT_CLOSEUPS, _RECENT_GROUNDS, _GROUND_STEP = 1300, 4000, 20
_KEPT_CLOSEUPS, _KEPT_GROUNDS = 1500, 220  # in memory, not to render them again
_CLOSEUP, _GROUND, _WHOLE = 0, 1, 2  # uses of the seed
_BEFORE_START = 1 << 20  # added to positions, since the first pictures take parts of negative ones

Image = NDArray[np.uint8]  # (H, W, 3) RGB
Mask = NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture with captions.

    Args:
        image: (H, W, 3) uint8 RGB.
        captions: one, of the whole picture; with regions one per region.
        regions: (R, H, W) bool, or None.
    """

    image: Image
    captions: list[str]
    regions: Mask | None = None


class PictureRenderer:
    """Renders the pictures of a stream, each a function of the seed and its position in the stream.

    Collages and canvases take the close-ups and grounds of recent positions. Those that this process has rendered are
    kept, which saves most of the time.

    Args:
        scale: pixels per unit.
        seed: of all randomness.
        easy: pictures of the easy world: every close-up is a portrait, every scene is clear.
    """

    KINDS = ("closeup", "scene", "collage", "canvas")

    def __init__(self, scale: int, seed: int, easy: bool = False) -> None:
        self._scale = scale
        self._easy = easy
        self._seed = seed
        self._closeups: OrderedDict[int, CaptionedPicture] = OrderedDict()  # by position
        self._grounds: OrderedDict[int, CaptionedPicture] = OrderedDict()
        self._position = 0
        self._rng = np.random.default_rng()  # of the current picture

    def render(self, kind: str, position: int) -> CaptionedPicture:
        """Render the picture at a position, from 0, as one of `KINDS`."""
        self._position = position
        self._rng = self._generator(_WHOLE, position)
        if kind == "closeup":
            return self._closeup_of(position)
        return {"scene": self._scene, "collage": self._collage, "canvas": self._canvas}[kind]()

    def _generator(self, use: int, position: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, position + _BEFORE_START, use])

    def _closeup_of(self, position: int) -> CaptionedPicture:
        return _kept(self._closeups, position, _KEPT_CLOSEUPS, self._closeup)

    def _ground_of(self, position: int) -> CaptionedPicture:
        return _kept(self._grounds, position, _KEPT_GROUNDS, self._ground)

    def _closeup(self, position: int) -> CaptionedPicture:
        """64 x 64 units: split "closeups" of `render_image`, or a portrait on one color."""
        rng = self._generator(_CLOSEUP, position)
        if self._easy:
            rendered = render_portrait(rng, Frame(_CLOSEUP_SIDE, _CLOSEUP_SIDE, self._scale), easy=True)
            caption = describe(rng, rendered, name_share=_UNIFORM_NAME_SHARE)
        elif rng.random() >= _UNIFORM_SHARE:
            index, seed = (int(value) for value in rng.integers(2**31, size=2))
            rendered, caption = render_image("closeups", index, seed, self._scale)
        else:
            if rng.random() < _BLACK_OR_WHITE_SHARE:
                ground = np.full(3, rng.integers(2), dtype=np.float32)
            else:
                ground = rng.uniform(0.03, 0.97, 3).astype(np.float32)
            rendered = render_portrait(rng, Frame(_CLOSEUP_SIDE, _CLOSEUP_SIDE, self._scale), ground)
            caption = describe(rng, rendered, name_share=_UNIFORM_NAME_SHARE)
        return CaptionedPicture(rendered.image, [caption])

    def _ground(self, position: int) -> CaptionedPicture:
        """One kind of stuff and up to two distractors, 128 x 128 units."""
        rng = self._generator(_GROUND, position)
        frame = Frame(PICTURE_SIDE, PICTURE_SIDE, self._scale)
        rendered = render_scene(rng, frame, 0, 1, int(rng.integers(0, 3)))
        return CaptionedPicture(rendered.image, [describe(rng, rendered)])

    def _scene(self) -> CaptionedPicture:
        """128 x 128 units: split "captions" of `render_image`."""
        index, seed = (int(value) for value in self._rng.integers(2**31, size=2))
        rendered, caption = render_image("captions", index, seed, self._scale)
        return CaptionedPicture(rendered.image, [caption])

    def _collage(self) -> CaptionedPicture:
        """Four close-ups, 128 x 128 units; the four regions are the close-ups, or ellipses in them."""
        side = PICTURE_SIDE * self._scale
        image = np.empty((side, side, 3), dtype=np.uint8)
        regions = np.zeros((4, side, side), dtype=bool)
        captions = []
        for quadrant in range(4):
            part = self._recent_closeup()
            window = self._quadrant(quadrant)
            image[window] = self._flipped(part.image)
            regions[quadrant][window] = self._closeup_mask(_COLLAGE_ELLIPSE_SHARE)
            captions += part.captions
        return CaptionedPicture(image, captions, regions)

    def _canvas(self) -> CaptionedPicture:
        """Two close-ups on one or two kinds of stuff, 128 x 128 units; regions: the visible grounds, the close-ups."""
        rng = self._rng
        grounds = [self._recent_ground() for _ in range(2 if rng.random() < _TWO_GROUNDS_SHARE else 1)]
        image = self._flipped(grounds[0].image).copy()
        masks = [np.ones(image.shape[:2], dtype=bool)]
        if len(grounds) == 2:
            second = self._side_of_a_line()
            image[second] = self._flipped(grounds[1].image)[second]
            masks = [~second, second]
        things, captions = [], [ground.captions[0] for ground in grounds]
        for quadrant in rng.choice(4, 2, replace=False):
            part = self._recent_closeup()
            window = self._quadrant(int(quadrant))
            shown = self._closeup_mask(_CANVAS_ELLIPSE_SHARE)
            image[window][shown] = self._flipped(part.image)[shown]
            for mask in masks:
                mask[window][shown] = False
            things.append(np.zeros_like(masks[0]))
            things[-1][window] = shown
            captions += part.captions
        kept = [index for index, mask in enumerate(masks) if mask.mean() > _MIN_GROUND_SHARE]
        regions = [masks[index] for index in kept] + things
        captions = [captions[index] for index in kept] + captions[len(masks) :]
        return CaptionedPicture(image, captions, np.stack(regions))

    def _recent_closeup(self) -> CaptionedPicture:
        return self._closeup_of(self._position - int(self._rng.integers(1, _RECENT_CLOSEUPS + 1)))

    def _recent_ground(self) -> CaptionedPicture:
        position = self._position - int(self._rng.integers(1, _RECENT_GROUNDS + 1))
        return self._ground_of(position // _GROUND_STEP * _GROUND_STEP)

    def _quadrant(self, index: int) -> tuple[slice, slice]:
        side = _CLOSEUP_SIDE * self._scale
        top, left = index // 2 * side, index % 2 * side
        return slice(top, top + side), slice(left, left + side)

    def _closeup_mask(self, ellipse_share: float) -> Mask:
        """The whole close-up, or an ellipse around its center."""
        side = _CLOSEUP_SIDE * self._scale
        if self._rng.random() >= ellipse_share:
            return np.ones((side, side), dtype=bool)
        radius_x, radius_y = self._rng.uniform(*_ELLIPSE_RADIUS, 2) * self._scale
        offsets = np.arange(side) + 0.5 - side / 2
        return (offsets / radius_x) ** 2 + (offsets[:, None] / radius_y) ** 2 <= 1

    def _side_of_a_line(self) -> Mask:
        """The pixels on one side of a wavy line in a random direction."""
        frame = Frame(PICTURE_SIDE, PICTURE_SIDE, self._scale)
        angle = self._rng.uniform(0, 2 * np.pi)
        x, y = frame.x - PICTURE_SIDE / 2, frame.y - PICTURE_SIDE / 2
        waves = 6 * self._rng.random() * np.sin(frame.y / 9 + angle)
        return x * np.cos(angle) + y * np.sin(angle) + self._rng.uniform(-22, 22) + waves > 0

    def _flipped(self, image: Image) -> Image:
        """The image or its mirror image: captions do not mention left and right."""
        return image[:, ::-1] if self._rng.random() < 0.5 else image


def _kept(
    pictures: OrderedDict[int, CaptionedPicture], position: int, limit: int, render: Callable[[int], CaptionedPicture]
) -> CaptionedPicture:
    """The picture of a position, rendered unless it is among `pictures`, the last `limit` ones that were used."""
    if position not in pictures:
        pictures[position] = render(position)
        if len(pictures) > limit:
            pictures.popitem(last=False)
    pictures.move_to_end(position)
    return pictures[position]
