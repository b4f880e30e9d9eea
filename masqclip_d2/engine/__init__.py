"""Training and evaluation runs: trainer, optimizer, hooks, stages."""

from .hook_registry import HOOK_REGISTRY

__all__ = ["HOOK_REGISTRY"]
