"""Registries: objects by name, with a `register()` decorator."""

from fvcore.common.registry import Registry

__all__ = ["Registry"]
