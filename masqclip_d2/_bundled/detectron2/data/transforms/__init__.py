"""Deterministic transforms (fvcore's and `ResizeTransform`) and augmentations."""

# ruff: noqa: F403  (each module has an `__all__`)
from fvcore.transforms.transform import *  # pyright: ignore[reportWildcardImportFromLibrary]

from .augmentation import *
from .augmentation_impl import *
from .transform import *
