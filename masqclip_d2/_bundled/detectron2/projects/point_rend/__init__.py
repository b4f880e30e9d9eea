"""Point sampling (`point_features`) and SSD's photometric augmentation."""

from .color_augmentation import ColorAugSSDTransform

__all__ = ["ColorAugSSDTransform"]
