"""Training and evaluation runs: trainer, optimizer, hooks, stages.

May import `evaluation`, `results` and everything below them.
"""

from .hook_registry import HOOK_REGISTRY
from .run_loggers import MLflowLogger, WandbLogger

__all__ = ["HOOK_REGISTRY", "MLflowLogger", "WandbLogger"]
