"""Captions of scenes, in varied grammar: "a photo of a dotted star on grass", "two plain crosses"."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.random import Generator

from .scene import Scene

MAX_NAMED_THINGS = 4  # categories; longer captions exceed a short text context

_NUMBERS = {2: "two", 3: "three", 4: "four"}
_OPENINGS = ("", "", "", "a photo of ", "a picture of ", "an image of ", "a close-up of ", "there is ", "we see ")
_NEXT_TO = (" and ", " and ", " next to ", " beside ", " with ")
_BACKGROUNDS = (" on {}", " on {}", " over {}", " in front of {}", " and {}", " against {}", ", {} in the background")
_EXPANSES = {
    "grass": "a field of grass",
    "water": "a body of water",
    "sand": "a stretch of sand",
    "brick": "a wall of brick",
    "sky": "a view of the sky",
    "wood": "a floor of wood",
}
_NAME_SHARE = 0.15  # share of captions that consist of a category name, like the prompts of a vocabulary
_BACKGROUND_SHARE = 0.6  # share of captions of things that name the background


def describe(rng: Generator, scene: Scene, name_share: float = _NAME_SHARE) -> str:
    """Return a caption of a scene: its most visible things and, often, its largest stuff.

    Scenes without things get a caption of their stuff, scenes without segments "an image of nothing".

    Args:
        rng: random generator.
        scene: the scene.
        name_share: share of scenes with a single thing whose caption is its name.
    """
    areas = np.bincount(scene.segment_map.ravel(), minlength=len(scene.segments) + 1)[1:]
    things, stuff = Counter(), []
    seen = {}
    for segment, area in zip(scene.segments, areas.tolist(), strict=True):
        name = segment.category.name
        if segment.category.isthing:
            things[name] += 1
            seen[name] = seen.get(name, 0) + area
        else:
            stuff.append((area, name))
    stuff = [name for _, name in sorted(stuff, reverse=True)]
    named = sorted(things, key=seen.__getitem__, reverse=True)[:MAX_NAMED_THINGS]
    named = [named[index] for index in rng.permutation(len(named))]
    if not named:
        return _describe_stuff(rng, stuff)
    if len(named) == 1 and things[named[0]] == 1 and rng.random() < name_share:
        return named[0]
    text = _pick(rng, _OPENINGS) + _listed(rng, [_counted(name, things[name]) for name in named])
    if stuff and rng.random() < _BACKGROUND_SHARE:
        text += _pick(rng, _BACKGROUNDS).format(stuff[0])
    return text


def _describe_stuff(rng: Generator, stuff: list[str]) -> str:
    if not stuff:
        return "an image of nothing"
    if rng.random() < _NAME_SHARE:
        return stuff[0]
    phrases = [_EXPANSES[name] if rng.random() < 0.4 else name for name in stuff[: 1 + int(rng.random() < 0.6)]]
    return _pick(rng, _OPENINGS) + _listed(rng, phrases)


def _counted(name: str, count: int) -> str:
    if count == 1:
        return f"a {name}"
    plural = f"{name}es" if name.endswith("s") else f"{name}s"
    return f"{_NUMBERS.get(count, 'several')} {plural}"


def _listed(rng: Generator, phrases: list[str]) -> str:
    """Join phrases: "a", "a and b", "a, b and c"."""
    if len(phrases) == 1:
        return phrases[0]
    return ", ".join(phrases[:-1]) + _pick(rng, _NEXT_TO) + phrases[-1]


def _pick(rng: Generator, options: tuple[str, ...]) -> str:
    return options[rng.integers(len(options))]
