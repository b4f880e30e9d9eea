"""Mapper that renders the pictures on which the tiny CLIP is trained; there are no files."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import configurable

from ...data.images import channels_first
from ...data.mappers import Record, register_mapper, require_keys, require_rgb
from .captioned_pictures import PICTURE_SIDE, PictureRenderer


@register_mapper("shapes_pictures")
class PictureMapper:
    """Renders a new picture for each record {"kind"} of `masqclip_shapes_pictures`.

    Returns the record with image (3, H, W) uint8 RGB, captions (list of str), and with regions (R, H, W) bool where
    there is one caption per region. A training loader calls `map_at`; without it, pictures depend on NumPy's random
    state.

    Args:
        scale: pixels per unit of length; whole pictures have 128 x 128 units (key INPUT.IMAGE_SIZE, in pixels).
    """

    @configurable
    def __init__(self, *, scale: int) -> None:
        self.scale = scale
        self._renderer: PictureRenderer | None = None  # of this process, with pictures that it reuses
        self._world: tuple[int, bool] | None = None

    @classmethod
    def from_config(cls, cfg, is_train: bool) -> dict[str, Any]:
        require_rgb(cfg)
        scale, rest = divmod(cfg.INPUT.IMAGE_SIZE, PICTURE_SIDE)
        if rest or scale < 1:
            raise ValueError(f"INPUT.IMAGE_SIZE must be a multiple of {PICTURE_SIDE}, got {cfg.INPUT.IMAGE_SIZE}.")
        return {"scale": scale}

    def __call__(self, record: Record) -> Record:
        return self.map_at(record, seed=int(np.random.randint(2**31)), position=0)

    def map_at(self, record: Record, seed: int, position: int) -> Record:
        """The picture at a position of the stream with this seed, see `PictureRenderer`."""
        require_keys(record, "kind")
        world = (seed, record.get("easy", False))
        if self._renderer is None or self._world != world:
            self._renderer, self._world = PictureRenderer(self.scale, *world), world
        picture = self._renderer.render(record["kind"], position)
        mapped = {**record, "image": channels_first(picture.image), "captions": picture.captions}
        if picture.regions is not None:
            mapped["regions"] = torch.from_numpy(picture.regions)
        return mapped
