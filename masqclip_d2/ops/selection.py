"""Which implementation of an op runs: the caller's choice, else the environment variable MASQCLIP_OPS, else the device.

An op has up to three forms: `reference` (the formula, to be read), `torch` (fast, plain PyTorch, any device) and
`triton` (CUDA). `auto` is triton on CUDA where an op has it, else torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch

CHOICES = ("auto", "reference", "torch", "triton")


def select_implementation(
    op: str, implementations: Mapping[str, Callable], device: torch.device, choice: str | None = None
) -> Callable:
    """Return the function that computes `op` for tensors on `device`; arguments and errors as in `chosen_form`."""
    return implementations[chosen_form(op, implementations, device, choice)]


def chosen_form(
    op: str, implementations: Mapping[str, Callable], device: torch.device, choice: str | None = None
) -> str:
    """Name of the form that computes `op` for tensors on `device`.

    Args:
        op: name of the op, for messages.
        implementations: the forms that this op has, by the names in `CHOICES` (without "auto").
        device: where the tensors are.
        choice: one of `CHOICES`; None: MASQCLIP_OPS, by default "auto".

    Raises:
        ValueError: the choice is no known name, or `op` has no such form.
    """
    source = "implementation" if choice is not None else "the environment variable MASQCLIP_OPS"
    choice = choice or os.environ.get("MASQCLIP_OPS") or "auto"
    if choice == "auto":
        choice = "triton" if device.type == "cuda" and "triton" in implementations else "torch"
    if choice not in implementations:
        raise ValueError(
            f"{source} is {choice!r}, but {op} has these forms: auto, {', '.join(implementations)}. Choose one of them."
        )
    return choice
