"""Strategies: changed bytes, changed JSON, odd values."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

NUMBERS = (0, 1, -1, 2, 255, 256, 65535, 2**31, -(2**31), 2**63, 2**70, 10**9, 0.5, -0.5, 1.5, 1e9, 1e308, -1e308)
UNREAL = (float("nan"), float("inf"), float("-inf"))
TEXTS = ("", " ", "a", "cat", "0", "1.0", "nan", "../x", "/", "a/b", "\x1b[31m", "\u202e", "\ufeff", "\x00", "x" * 5000)
VALUES: tuple[Any, ...] = (
    *NUMBERS, *UNREAL, *TEXTS, None, True, False, [], {}, [[]], [None], [1, 2], [[1, 2, 3]], {"a": 1}, {"": None},
    [[0, 0, 10, 0, 10, 10]], {"size": [4, 4], "counts": "1"}, {"size": [8, 8], "counts": [64]},
)  # fmt: skip


@st.composite
def changed_bytes(draw: st.DrawFn, contents: Sequence[bytes]) -> bytes:
    """One of `contents` with one to four changes: bytes replaced, cut out, repeated, put in, or the end cut off."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from((1, 2, 4, 8, 30)))
        kind = draw(st.sampled_from(("replace", "flip", "cut", "repeat", "put", "end")))
        if kind == "replace":
            content[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at : at + length]
        elif kind == "repeat":
            content[at:at] = content[at : at + length]
        elif kind == "put":
            content[at:at] = draw(
                st.sampled_from((b"\x00" * 8, b"\xff" * 8, b"{", b"]", b"\n", b"-1", b"1e309", b"0."))
            )
        else:
            del content[at:]
    return bytes(content)


@st.composite
def changed_json(draw: st.DrawFn, content: Any, values: Sequence[Any] = VALUES) -> Any:
    """A deep copy of `content` with one to three entries replaced by odd values, removed, or repeated."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(content))
        if not places:
            break
        parent, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(st.sampled_from(("replace", "replace", "replace", "remove", "repeat")))
        if kind == "remove":
            del parent[key]
        elif kind == "repeat" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[key] = copy.deepcopy(draw(st.sampled_from(values)))
    return content


def _places(content: Any):
    """(container, key) of every entry, at any depth."""
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(entries):
        yield content, key
        yield from _places(value)


_DTYPES = ("bool", "uint8", "int8", "int16", "uint16", "int32", "int64", "uint64", "float16", "float32", "float64",
           "complex64", "object", "U4", "datetime64[s]")  # fmt: skip


@st.composite
def arrays(draw: st.DrawFn, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str] = _DTYPES) -> np.ndarray:
    """An array of one of `shapes` and `dtypes`; floats may hold NaN and infinities."""
    shape = draw(st.sampled_from(shapes))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    values = rng.integers(0, draw(st.sampled_from((2, 5, 256))), size=shape)
    array = values.astype(dtype)
    if dtype.kind == "f" and array.size and draw(st.booleans()):
        array.flat[0] = draw(st.sampled_from((*UNREAL, -1.0, 1e4)))
    if draw(st.booleans()) and array.ndim > 1:
        array = array[..., ::-1]  # negative strides
    return array
