"""detectron2.layers: normalization by name, frozen batch norm, convolution with norm and activation."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import CNNBlockBase, Conv2d, FrozenBatchNorm2d, ShapeSpec, get_norm
from torch import nn


def test_frozen_batch_norm_has_four_buffers_and_starts_as_the_identity():
    norm = FrozenBatchNorm2d(3, eps=1e-5)
    assert list(norm.parameters()) == []
    assert list(norm.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    assert torch.allclose(norm.running_var, torch.full((3,), 1 - 1e-5), atol=1e-8)
    x = torch.randn(2, 3, 4, 5)
    assert torch.allclose(norm(x), x, atol=1e-6)


def test_frozen_batch_norm_computes_the_affine_map():
    norm = FrozenBatchNorm2d(1, eps=0.0)
    state = {"weight": [2.0], "bias": [1.0], "running_mean": [3.0], "running_var": [4.0]}
    norm.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    assert norm(torch.full((1, 1, 1, 1), 7.0)).item() == pytest.approx((7 - 3) / 2 * 2 + 1)
    half = norm(torch.full((1, 1, 1, 1), 7.0, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16 and half.item() == 5.0


def test_frozen_batch_norm_is_the_same_with_and_without_gradient():
    norm = FrozenBatchNorm2d(2)
    norm.running_mean.copy_(torch.tensor([0.3, -1.0]))
    norm.weight.copy_(torch.tensor([2.0, 0.5]))
    x = torch.randn(1, 2, 3, 3)
    y = norm(x.clone().requires_grad_())
    assert torch.allclose(y, norm(x), atol=1e-6)
    assert y.requires_grad


def test_frozen_batch_norm_takes_the_state_of_a_trainable_one():
    trained = nn.BatchNorm2d(2)
    trained(torch.randn(4, 2, 3, 3))
    frozen = FrozenBatchNorm2d(2)
    frozen.load_state_dict(trained.state_dict(), strict=False)  # num_batches_tracked is ignored
    x = torch.randn(1, 2, 3, 3)
    assert torch.allclose(frozen(x), trained.eval()(x), atol=1e-6)


def test_convert_frozen_batchnorm_replaces_nested_norms_and_keeps_the_function():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.Conv2d(2, 2, 1), nn.SyncBatchNorm(2)))
    with torch.no_grad():
        model[0].running_mean.fill_(0.5)
        model[1][1].running_var.fill_(2.0)
    x = torch.randn(1, 2, 3, 3)
    expected = model.eval()(x)
    converted = FrozenBatchNorm2d.convert_frozen_batchnorm(model)
    assert isinstance(converted[0], FrozenBatchNorm2d) and isinstance(converted[1][1], FrozenBatchNorm2d)
    assert isinstance(converted[1][0], nn.Conv2d)
    assert torch.allclose(converted(x), expected, atol=1e-6)
    assert isinstance(FrozenBatchNorm2d.convert_frozen_batchnorm(nn.BatchNorm2d(2)), FrozenBatchNorm2d)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("BN", nn.BatchNorm2d), ("SyncBN", nn.SyncBatchNorm), ("FrozenBN", FrozenBatchNorm2d), ("GN", nn.GroupNorm)],
)
def test_get_norm_by_name(name, expected):
    assert isinstance(get_norm(name, 64), expected)


def test_get_norm_group_count_callables_and_unknown_names():
    assert get_norm("GN", 64).num_groups == 32
    assert get_norm("", 8) is None and get_norm(None, 8) is None
    assert isinstance(get_norm(lambda channels: nn.GroupNorm(2, channels), 8), nn.GroupNorm)
    with pytest.raises(KeyError, match="Nope"):
        get_norm("Nope", 8)


def test_layer_norm_is_over_channels():
    norm = get_norm("LN", 2)
    assert sorted(norm.state_dict()) == ["bias", "weight"]
    x = torch.zeros(1, 2, 1, 2)
    x[0, :, 0, 0] = torch.tensor([1.0, 3.0])
    x[0, :, 0, 1] = torch.tensor([10.0, 10.0])
    y = norm(x)
    assert torch.allclose(y[0, :, 0, 0], torch.tensor([-1.0, 1.0]), atol=1e-5)
    assert torch.allclose(y[0, :, 0, 1], torch.zeros(2), atol=1e-5)


def test_conv2d_applies_norm_then_activation():
    norm = FrozenBatchNorm2d(1, eps=0.0)
    norm.bias.fill_(-5.0)
    conv = Conv2d(1, 1, 1, bias=False, norm=norm, activation=torch.relu)
    nn.init.ones_(conv.weight)
    assert sorted(conv.state_dict()) == [
        "norm.bias", "norm.running_mean", "norm.running_var", "norm.weight", "weight",
    ]  # fmt: skip
    assert conv(torch.tensor([3.0, 7.0]).reshape(1, 1, 1, 2)).flatten().tolist() == [0.0, 2.0]
    assert sorted(Conv2d(1, 1, 1).state_dict()) == ["bias", "weight"]


def test_cnn_block_freeze():
    class Block(CNNBlockBase):
        def __init__(self):
            super().__init__(2, 4, stride=2)
            self.conv = Conv2d(2, 4, 3, norm=get_norm("BN", 4))

    block = Block()
    assert (block.in_channels, block.out_channels, block.stride) == (2, 4, 2)
    assert block.freeze() is block
    assert not any(parameter.requires_grad for parameter in block.parameters())
    assert isinstance(block.conv.norm, FrozenBatchNorm2d)


def test_shape_spec_defaults_and_equality():
    assert ShapeSpec(channels=3) == ShapeSpec(channels=3, height=None, width=None, stride=None)
    assert ShapeSpec(channels=3, stride=4) != ShapeSpec(channels=3)
