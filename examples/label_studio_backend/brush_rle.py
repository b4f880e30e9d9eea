"""Label Studio's run-length encoding of brush masks: packed bits of an RGBA image.

Header: 32 bits number of values, 5 bits size of a value - 1, four times 4 bits size of a run length - 1. Then runs:
1 bit (1: equal values follow, 0: different ones), 2 bits which of the four sizes, the length - 1, the values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST = 1 << _LENGTH_BITS[-1]


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """Bytes of an (H, W) mask: a pixel inside is (255, 255, 255, 255), others (0, 0, 0, 0)."""
    values = np.repeat(mask.ravel(), 4)
    header = f"{len(values):032b}{_VALUE_BITS - 1:05b}" + "".join(f"{size - 1:04b}" for size in _LENGTH_BITS)
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate([[0], changes]).tolist()
    lengths = np.diff([*starts, len(values)]).tolist()
    bits = [header]
    for start, length in zip(starts, lengths, strict=True):
        value = "1" * _VALUE_BITS if values[start] else "0" * _VALUE_BITS
        for part in [_LONGEST] * (length // _LONGEST) + [length % _LONGEST]:
            if part:
                index = next(i for i, size in enumerate(_LENGTH_BITS) if part <= 1 << size)
                bits.append(f"1{index:02b}{part - 1:0{_LENGTH_BITS[index]}b}{value}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[position : position + 8], 2) for position in range(0, len(text), 8)]
