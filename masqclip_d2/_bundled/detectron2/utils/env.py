"""Random seeds."""

from __future__ import annotations

import logging
import os
import random

import numpy as np
import torch


def seed_all_rng(seed: int | None = None) -> None:
    """Seed random, numpy and torch (every device); None takes a random seed from the operating system and logs it."""
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little") % 2**31
        logging.getLogger(__name__).info("Using a random seed: %d", seed)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)
