"""Scenes of Shapes for figures, rendered on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masqclip_d2.categories import Category, load_categories
from masqclip_d2.shapes.rendering import DEFAULT_SCALE, Scene, render_image
from masqclip_d2.vocabulary import Vocabulary

SEED = 0  # of the rendering


def scenes(split: str, condition: Callable[[Scene], bool] = lambda scene: True, seed: int = SEED) -> Iterator[Scene]:
    """Scenes of "train" or "val" that meet a condition, in order, without end."""
    for index in count():
        scene, _ = render_image(split, index, seed, DEFAULT_SCALE)
        if condition(scene):
            yield scene


def first_scenes(
    number: int,
    split: str,
    condition: Callable[[Scene], bool] = lambda scene: True,
    seed: int = SEED,
) -> list[Scene]:
    """The first ones of `scenes`."""
    return list(islice(scenes(split, condition, seed), number))


def things(scene: Scene) -> list[Category]:
    """Categories of the things of a scene."""
    return [segment.category for segment in scene.segments if segment.category.isthing]


def segment_masks(scene: Scene) -> list[tuple[Category, NDArray[np.bool_]]]:
    """Category and (H, W) mask of each segment, stuff first."""
    return [(segment.category, scene.segment_map == label) for label, segment in enumerate(scene.segments, start=1)]


def record(scene: Scene) -> dict[str, Tensor]:
    """Detectron2's input for a scene."""
    return {"image": torch.from_numpy(np.ascontiguousarray(scene.image.transpose(2, 0, 1)))}


def shapes_vocabulary() -> Vocabulary:
    """All categories of Shapes."""
    categories = load_categories("shapes")
    return Vocabulary(tuple(c.name for c in categories), tuple(c.isthing for c in categories))
