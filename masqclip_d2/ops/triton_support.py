"""What the Triton kernels share: whether they can run, products that the interpreter computes right, tile sizes.

Kernels are compiled for the GPU at their first use. With TRITON_INTERPRET=1, set before the process starts, they run on
CPU tensors instead, slowly, for tests.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
_OLDEST_CAPABILITY = (8, 0)  # bfloat16 products


def triton_problem(device: torch.device) -> str:
    """Why kernels cannot run on tensors of `device`, a clause; "" if they can."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if INTERPRETING:
        return "" if device.type == "cpu" else "TRITON_INTERPRET=1 runs kernels on the CPU only"
    if device.type != "cuda":
        return "its kernels run on CUDA devices, or on the CPU with TRITON_INTERPRET=1"
    capability = torch.cuda.get_device_capability(device)
    if capability < _OLDEST_CAPABILITY:
        return "the GPU has compute capability {}.{}, and its kernels need 8.0".format(*capability)
    return ""


@functools.cache
def num_multiprocessors(device: torch.device) -> int:
    """Programs that run at once on `device`; of an H100 where it is not a GPU, so that tests split work as on one."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 132


def power_of_two(size: int, least: int = 16) -> int:
    """The smallest power of two that is at least `size` and `least`; products of tiles need sides of 16."""
    return max(least, 1 << max(0, size - 1).bit_length())


def with_dense_rows(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, copied if its last dimension is not contiguous; kernels take any other strides."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()


def kernel_op(name: str) -> Callable[[Callable], Any]:
    """Decorator: a function that launches kernels becomes an operator of torch, `torch.ops.masqclip.NAME`.

    Triton launches on the current device, so that of the first tensor is made the current one.

    Args:
        name: "masqclip::NAME".
    """

    def register(function: Callable) -> Any:
        @functools.wraps(function)
        def launch(first: torch.Tensor, *arguments):
            with _current(first.device):
                return function(first, *arguments)

        schema = torch.library.infer_schema(function, mutates_args=())
        return torch.library.custom_op(name, launch, mutates_args=(), schema=schema)

    return register


def _current(device: torch.device) -> contextlib.AbstractContextManager:
    """Context in which a GPU is the current device; none for the CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
