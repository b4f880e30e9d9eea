"""Functions in Triton that several kernels call."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_support import INTERPRETING as _INTERPRETING

INTERPRETING = tl.constexpr(_INTERPRETING)


@triton.jit
def dot(left, right):
    """Matrix product of two tiles, summed in float32; float32 tiles are not rounded to TF32.

    Triton's interpreter multiplies the bit patterns of bfloat16 (versions 3.6 to 3.9), so tiles are float32 there.
    """
    if INTERPRETING:
        return tl.dot(left.to(tl.float32), right.to(tl.float32), input_precision="ieee")
    return tl.dot(left, right, input_precision="ieee")
