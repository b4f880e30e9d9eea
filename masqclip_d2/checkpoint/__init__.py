"""Read checkpoints of every supported format safely, load them strictly, write safetensors.

May import `hub` and everything below it, neither `data` nor `engine`.
"""

from .checkpointer import StrictCheckpointer
from .initialization import SkippedInitialization, build_with_weights
from .reading import local_weights_path, read_checkpoint
from .strict_loading import load_strict, match_keys, match_keys_without_model
from .writing import write_safetensors

__all__ = [
    "SkippedInitialization",
    "StrictCheckpointer",
    "build_with_weights",
    "match_keys",
    "match_keys_without_model",
    "load_strict",
    "local_weights_path",
    "read_checkpoint",
    "write_safetensors",
]
