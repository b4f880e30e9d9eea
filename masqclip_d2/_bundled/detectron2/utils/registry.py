"""Name -> object tables with a `register()` decorator."""

from fvcore.common.registry import Registry

__all__ = ["Registry"]
