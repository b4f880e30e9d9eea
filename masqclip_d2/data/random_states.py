"""Random states of Python, NumPy and PyTorch, set from numbers: the same numbers, the same randomness."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_all(*numbers: int) -> None:
    """Seed Python, NumPy and PyTorch, all devices included, with a hash of non-negative numbers."""
    torch.manual_seed(_seed_python_and_numpy(*numbers))


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed Python, NumPy and PyTorch on the CPU for a block; the states from before are restored after it."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # Not torch.manual_seed, which also seeds GPUs, whose states are not restored.
    torch.default_generator.manual_seed(_seed_python_and_numpy(*numbers))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _seed_python_and_numpy(*numbers: int) -> int:
    """Seed these two and return a seed for PyTorch."""
    # With their number, since zeros at the end are no different from nothing.
    words = np.random.SeedSequence((len(numbers), *numbers)).generate_state(10)
    np.random.seed(words[:4])
    random.seed(words[4:8].tobytes())
    return int(words[8]) << 31 | int(words[9]) >> 1
