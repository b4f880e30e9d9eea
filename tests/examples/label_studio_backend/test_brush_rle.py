"""Brush masks of Label Studio, read back by a decoder that reads the stream bit by bit."""

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "label_studio_backend"


@pytest.fixture
def encode(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "brush_rle", raising=False)
    import brush_rle

    return brush_rle.encode


class Bits:
    """A stream of bits, the highest of each byte first."""

    def __init__(self, content):
        self._number, self._left = int.from_bytes(bytes(content), "big"), 8 * len(content)

    def read(self, count):
        self._left -= count
        return (self._number >> self._left) & ((1 << count) - 1)


def decode(content):
    bits = Bits(content)
    total, value_bits = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < total:
        equal = bits.read(1)
        length = bits.read(sizes[bits.read(2)]) + 1
        values += [bits.read(value_bits)] * length if equal else [bits.read(value_bits) for _ in range(length)]
    return values


@pytest.mark.parametrize("hw", [(1, 1), (7, 5), (30, 41), (150, 140)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_the_decoder_finds_the_mask(encode, hw, share):
    mask = np.random.default_rng(0).random(hw) < share
    values = decode(encode(mask))
    assert len(values) == 4 * mask.size and set(values) <= {0, 255}
    pixels = np.array(values).reshape(*hw, 4)
    assert np.array_equal(pixels[..., 3] == 255, mask) and (pixels == pixels[..., :1]).all()


def test_long_runs_take_few_bytes(encode):
    assert len(encode(np.zeros((1000, 1000), dtype=bool))) < 300
