"""Faster inference: half precision, `torch.compile`, CUDA graphs. None of them changes training.

A module says in `network_names` which of its children are networks: without Python between their operations that
depends on values, so that they can be compiled and recorded. A module with a method `prepare_inference` computes in it
what depends on its weights alone.

May import `precision`, `config_files` and everything below them, no models.
"""

from .accelerate import Acceleration, accelerate, accelerated
from .cuda_graphs import GraphedForward

__all__ = ["Acceleration", "GraphedForward", "accelerate", "accelerated"]
