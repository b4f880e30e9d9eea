"""Choice of an op's implementation: the caller's argument, else the environment variable MASQCLIP_OPS, else the device.

An op has up to three implementations: `reference` (the formula, written to be read), `torch` (fast, plain PyTorch, any
device) and `triton` (CUDA). `auto` selects triton on CUDA if the op has it, else torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch


def select_implementation(
    op: str, implementations: Mapping[str, Callable], device: torch.device, choice: str | None = None
) -> Callable:
    """Return the function that computes `op` on `device`; arguments and errors as in `implementation_name`."""
    return implementations[implementation_name(op, implementations, device, choice)]


def implementation_name(
    op: str, implementations: Mapping[str, Callable], device: torch.device, choice: str | None = None
) -> str:
    """Return the name of the implementation that computes `op` on `device`.

    Args:
        op: name of the op, for messages.
        implementations: the op's functions by name: "reference", "torch" and, if it has one, "triton".
        device: device of the tensors.
        choice: "auto" or a key of `implementations`; None: the environment variable MASQCLIP_OPS, by default "auto".

    Raises:
        ValueError: `op` has no implementation of the chosen name.
    """
    source = "implementation" if choice is not None else "the environment variable MASQCLIP_OPS"
    choice = choice or os.environ.get("MASQCLIP_OPS") or "auto"
    if choice == "auto":
        choice = "triton" if device.type == "cuda" and "triton" in implementations else "torch"
    if choice not in implementations:
        raise ValueError(
            f"{source} is {choice!r}, but {op} has no such implementation; expected auto, {', '.join(implementations)}."
        )
    return choice
