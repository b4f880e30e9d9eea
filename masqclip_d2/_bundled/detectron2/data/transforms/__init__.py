"""Deterministic transforms (fvcore's, and resizing) and the augmentations that choose them."""

# ruff: noqa: F403  (each module's `__all__` is what it offers)
from fvcore.transforms.transform import *

from .augmentation import *
from .augmentation_impl import *
from .transform import *
