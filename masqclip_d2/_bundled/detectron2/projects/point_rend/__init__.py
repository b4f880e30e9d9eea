"""Point sampling (PointRend) and the photometric jitter that comes with it."""

from .color_augmentation import ColorAugSSDTransform
from .point_features import get_uncertain_point_coords_with_randomness, point_sample

__all__ = ["ColorAugSSDTransform", "get_uncertain_point_coords_with_randomness", "point_sample"]
