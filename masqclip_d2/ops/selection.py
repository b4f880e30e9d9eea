"""Choice of an op's implementation: the caller's argument, else the environment variable MASQCLIP_OPS, else the device.

An op has up to three implementations: `reference` (the formula, written to be read), `torch` (fast, plain PyTorch, any
device) and `triton` (kernels for CUDA). `auto` selects triton on CUDA where it can compute what is asked, else torch.
While a model is exported, an op whose fast implementation loops over sizes or has operators of its own has a fourth
one, `export`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch

from .triton_support import triton_problem

KERNEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_export_depth = 0  # contexts of `export_implementations` that are entered


class Selection(NamedTuple):
    """Name of the implementation that computes an op, and the reason for it, a clause."""

    name: str
    reason: str


@contextlib.contextmanager
def export_implementations() -> Iterator[None]:
    """In this context ops are graphs of plain operators for any sizes: `export` where an op has it, else `torch`."""
    global _export_depth
    _export_depth += 1
    try:
        yield
    finally:
        _export_depth -= 1


def select_implementation(
    op: str,
    implementations: Mapping[str, Callable],
    device: torch.device,
    choice: str | None = None,
    unsupported: str = "",
) -> Callable:
    """Return the function that computes `op` on `device`; arguments and errors as in `explain_selection`."""
    return implementations[explain_selection(op, implementations, device, choice, unsupported).name]


def explain_selection(
    op: str,
    implementations: Mapping[str, Callable],
    device: torch.device,
    choice: str | None = None,
    unsupported: str = "",
) -> Selection:
    """Return which implementation computes `op` on `device`, and why.

    Args:
        op: name of the op, for messages.
        implementations: the op's functions by name: "reference", "torch" and, if it has one, "triton".
        device: device of the tensors.
        choice: "auto" or a key of `implementations`; None: the environment variable MASQCLIP_OPS, by default "auto".
        unsupported: why the kernels cannot compute what is asked, a clause; "": they can.

    Raises:
        ValueError: `op` has no implementation of the chosen name, or its kernels are chosen where they cannot run.
    """
    if choice is None and _export_depth:
        return Selection("export" if "export" in implementations else "torch", "a model is exported")
    source = "implementation" if choice is not None else "the environment variable MASQCLIP_OPS"
    choice = choice or os.environ.get("MASQCLIP_OPS") or "auto"
    if choice == "auto":
        return _automatic_selection(implementations, device, unsupported)
    if choice not in implementations:
        raise ValueError(
            f"{source} is {choice!r}, but {op} has no such implementation; expected auto, {', '.join(implementations)}."
        )
    if choice == "triton" and (problem := triton_problem(device) or unsupported):
        raise ValueError(f"{source} is 'triton', but {op} cannot use it: {problem}. Use auto, torch or reference.")
    return Selection(choice, f"{source} is {choice!r}")


def _automatic_selection(implementations: Mapping[str, Callable], device: torch.device, unsupported: str) -> Selection:
    if "triton" not in implementations:
        return Selection("torch", "it has no kernels")
    if device.type != "cuda":
        return Selection("torch", "auto selects kernels on CUDA devices only")
    problem = triton_problem(device) or unsupported
    return Selection("torch", problem) if problem else Selection("triton", "auto selects kernels on CUDA devices")


def deterministic_problem(*differentiable: torch.Tensor | None) -> str:
    """Why kernels whose gradients are sums by atomics cannot be used, a clause for `unsupported`; "" if they can.

    Args:
        differentiable: the inputs whose gradients are summed so.
    """
    if not torch.are_deterministic_algorithms_enabled() or not torch.is_grad_enabled():
        return ""
    if not any(tensor is not None and tensor.requires_grad for tensor in differentiable):
        return ""
    return "deterministic algorithms are on, and the order of its sums varies"


def dtype_problem(*tensors: torch.Tensor | None) -> str:
    """Why kernels cannot compute with float tensors of these dtypes, a clause for `unsupported`; "" if they can."""
    for tensor in tensors:
        if tensor is not None and tensor.dtype not in KERNEL_DTYPES:
            return f"its kernels compute with float32, float16 and bfloat16, not with {tensor.dtype}"
    return ""
