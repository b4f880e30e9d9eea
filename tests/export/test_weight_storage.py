"""Smaller weights: what is stored, and how far results move."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from masqclip_d2.export.weight_storage import store_smaller


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(128, 96)
        self.table = nn.Parameter(torch.randn(96, 128))
        self.small = nn.Parameter(torch.randn(2, 3))

    def forward(self, x):
        return self.layer(x @ self.table)


@pytest.mark.parametrize(
    "dtype, stored, tolerance",
    [("bf16", torch.bfloat16, 2e-2), ("fp16", torch.float16, 2e-3), ("int8", torch.int8, 3e-2)],
)
def test_large_parameters_are_stored_smaller(dtype, stored, tolerance):
    network, x = Network(), torch.randn(5, 96)
    expected = network(x)
    store_smaller(network, dtype)
    tensors = network.state_dict()
    assert {name for name, tensor in tensors.items() if tensor.dtype == stored} == {
        "parametrizations.table.original0",
        "layer.parametrizations.weight.original0",
    }
    assert tensors["layer.bias"].dtype == tensors["small"].dtype == network.table.dtype == torch.float32
    error = (network(x) - expected).abs().max() / expected.abs().max()
    assert 0 < error < tolerance


def test_int8_keeps_the_largest_weight_of_each_row_and_zeros():
    network = Network()
    with torch.no_grad():
        network.table[3] = 0
        network.table[4] *= 1000
    largest = network.table.detach().abs().amax(dim=1)
    store_smaller(network, "int8")
    torch.testing.assert_close(network.table.abs().amax(dim=1), largest)


def test_other_names():
    network = Network()
    store_smaller(network, "fp32")
    assert not hasattr(network, "parametrizations")
    with pytest.raises(ValueError, match="expected one of fp32, bf16, fp16, int8"):
        store_smaller(network, "int4")
