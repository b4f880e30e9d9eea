"""The configuration tree, and `configurable` for building objects from it."""

from .config import CfgNode, configurable, get_cfg

__all__ = ["CfgNode", "configurable", "get_cfg"]
