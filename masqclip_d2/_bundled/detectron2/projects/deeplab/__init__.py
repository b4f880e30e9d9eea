"""DeepLab's config keys and its polynomial learning rate."""

from .build_solver import build_lr_scheduler
from .config import add_deeplab_config

__all__ = ["add_deeplab_config", "build_lr_scheduler"]
