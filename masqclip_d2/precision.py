"""Precision of the networks in inference: float32, or half precision where the machine gains from it."""

from __future__ import annotations

import logging
import platform

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

logger = logging.getLogger(__name__)


def bfloat16_is_native() -> bool:
    """False on x86 CPUs without bfloat16 instructions (AVX512-BF16, AMX), where products in bfloat16 are emulated."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    found = [getattr(torch.cpu, name)() for name in checks if hasattr(torch.cpu, name)]
    return any(found) or not found  # a torch that cannot tell gets what was asked for


def inference_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype for networks on a device.

    Args:
        name: a key of `DTYPES`.
        device: on CPUs float16, and bfloat16 without native instructions, are replaced by float32, which is faster
            there; a line in the log says so.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in DTYPES:
        raise ValueError(f"dtype is {name!r}; expected one of {', '.join(DTYPES)}.")
    if device.type == "cpu" and name == "fp16":
        logger.warning("dtype fp16 has no effect: CPUs are slower in float16 than in float32; bf16 may be faster.")
        return torch.float32
    if device.type == "cpu" and name == "bf16" and not bfloat16_is_native():
        logger.warning("dtype bf16 has no effect: this CPU emulates bfloat16, slower than float32.")
        return torch.float32
    return DTYPES[name]


def autocast_to(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Context in which networks run in `dtype`; none for float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
