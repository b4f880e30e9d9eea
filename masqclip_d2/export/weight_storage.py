"""Smaller weights: stored in half precision or as 8-bit integers, computed with in float32.

A large parameter becomes a stored tensor and the operators that make float32 of it, which become part of the exported
graph. Files get smaller; time and memory of inference do not change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

WEIGHT_DTYPES = ("fp32", "bf16", "fp16", "int8")
_FEWEST_ELEMENTS = 8193  # of a parameter that is stored smaller; the ONNX exporter undoes it for fewer
_LARGEST_INT8 = 127


class HalfStorage(nn.Module):
    """float32 <-> a half-precision dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, stored: Tensor) -> Tensor:
        return stored.float()

    def right_inverse(self, weight: Tensor) -> tuple[Tensor]:
        return (weight.to(self.dtype),)  # a single tensor may not have another dtype


class Int8Storage(nn.Module):
    """float32 <-> 8-bit integers and a scale for each index of the first dimension, symmetric around zero."""

    def forward(self, stored: Tensor, scale: Tensor) -> Tensor:
        return stored.float() * scale

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        largest = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
        scale = largest.clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST_INT8
        return (weight / scale).round().to(torch.int8), scale


def store_smaller(module: nn.Module, dtype: str) -> None:
    """Store the large parameters of a module in another dtype, in place; results change by the rounding.

    Args:
        module: float32; parameters of one dimension (biases, norms) and small ones stay.
        dtype: one of `WEIGHT_DTYPES`; "fp32": nothing changes.

    Raises:
        ValueError: there is no such dtype.
    """
    if dtype not in WEIGHT_DTYPES:
        raise ValueError(f"Weights cannot be stored as {dtype!r}; expected one of {', '.join(WEIGHT_DTYPES)}.")
    if dtype == "fp32":
        return
    for owner in list(module.modules()):
        for name, parameter in list(owner.named_parameters(recurse=False)):
            if parameter.dim() >= 2 and parameter.numel() >= _FEWEST_ELEMENTS:
                parameter.requires_grad_(False)
                # `unsafe` leaves out a check that the stored tensor has the dtype of the parameter.
                parametrize.register_parametrization(owner, name, _storage(dtype), unsafe=True)


def _storage(dtype: str) -> nn.Module:
    return Int8Storage() if dtype == "int8" else HalfStorage({"bf16": torch.bfloat16, "fp16": torch.float16}[dtype])
