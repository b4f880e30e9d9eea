"""ResNet: parameter names, strides, freezing, and equality with torchvision through the renaming rule."""

from __future__ import annotations

import re

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_backbone
from torch import nn

STAGES = ["res2", "res3", "res4", "res5"]


def resnet_cfg(depth: int, **options):
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH = depth
    cfg.MODEL.RESNETS.OUT_FEATURES = STAGES
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    if depth < 50:
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.BACKBONE.FREEZE_AT = options.pop("FREEZE_AT", 0)
    for key, value in options.items():
        cfg.MODEL.RESNETS[key] = value
    return cfg


def renamed_from_torchvision(state: dict) -> dict:
    renamed = {}
    for key, value in state.items():
        if key.startswith("fc.") or key.endswith("num_batches_tracked"):
            continue
        if "layer" not in key:
            key = "stem." + key
        key = re.sub(r"layer(\d)", lambda match: f"res{int(match[1]) + 1}", key)
        key = re.sub(r"bn(\d)", r"conv\1.norm", key)
        renamed[key.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = value
    return renamed


@pytest.mark.parametrize(("depth", "count", "has_res2_shortcut"), [(18, 100, False), (50, 265, True)])
def test_parameter_names(depth, count, has_res2_shortcut):
    names = build_backbone(resnet_cfg(depth)).state_dict()
    assert len(names) == count
    for norm in ("weight", "bias", "running_mean", "running_var"):
        assert f"stem.conv1.norm.{norm}" in names
        assert f"res5.1.conv2.norm.{norm}" in names
    assert "stem.conv1.weight" in names and "res3.0.shortcut.weight" in names
    assert ("res2.0.shortcut.weight" in names) == has_res2_shortcut
    assert "res3.1.shortcut.weight" not in names


@pytest.mark.parametrize(("depth", "channels"), [(18, [64, 128, 256, 512]), (50, [256, 512, 1024, 2048])])
def test_output_shape_and_strides(depth, channels):
    backbone = build_backbone(resnet_cfg(depth)).eval()
    assert isinstance(backbone, Backbone)
    assert backbone.size_divisibility == 0 and backbone.padding_constraints == {}
    shapes = backbone.output_shape()
    assert list(shapes) == STAGES
    assert [(shapes[name].channels, shapes[name].stride) for name in STAGES] == list(
        zip(channels, (4, 8, 16, 32), strict=True)
    )
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, 64, 96))
    for name, width, stride in zip(STAGES, channels, (4, 8, 16, 32), strict=True):
        assert features[name].shape == (2, width, 64 // stride, 96 // stride)


@pytest.mark.parametrize("depth", [18, 50])
def test_features_equal_torchvision_after_renaming(depth):
    import torchvision

    torchvision_model = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    for module in torchvision_model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    backbone = build_backbone(resnet_cfg(depth)).eval()
    backbone.load_state_dict(renamed_from_torchvision(torchvision_model.state_dict()))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = backbone(image)
        model = torchvision_model.eval()
        x = model.maxpool(model.relu(model.bn1(model.conv1(image))))
        for name, layer in zip(STAGES, (model.layer1, model.layer2, model.layer3, model.layer4), strict=True):
            x = layer(x)
            assert (features[name] - x).abs().max() <= 1e-6 * max(1.0, x.abs().max().item())


def test_only_needed_stages_are_built():
    backbone = build_backbone(resnet_cfg(18, OUT_FEATURES=["stem", "res3"]))
    assert not hasattr(backbone, "res4")
    assert {name: spec.stride for name, spec in backbone.output_shape().items()} == {"stem": 4, "res3": 8}
    assert list(backbone(torch.randn(1, 3, 32, 32))) == ["stem", "res3"]


@pytest.mark.parametrize(("stride_in_1x1", "first", "second"), [(True, (2, 2), (1, 1)), (False, (1, 1), (2, 2))])
def test_stride_in_1x1_chooses_the_striding_convolution(stride_in_1x1, first, second):
    block = build_backbone(resnet_cfg(50, STRIDE_IN_1X1=stride_in_1x1, OUT_FEATURES=["res3"])).res3[0]
    assert (block.conv1.stride, block.conv2.stride) == (first, second)


def test_res5_dilation_keeps_the_stride_of_res4():
    backbone = build_backbone(resnet_cfg(50, RES5_DILATION=2))
    assert backbone.output_shape()["res5"].stride == 16
    assert backbone.res5[0].conv2.dilation == (2, 2)


@pytest.mark.parametrize(
    ("freeze_at", "frozen"), [(0, []), (1, ["stem"]), (2, ["stem", "res2"]), (3, ["stem", "res2", "res3"])]
)
@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_freeze_at(freeze_at, frozen, norm):
    backbone = build_backbone(resnet_cfg(18, NORM=norm, FREEZE_AT=freeze_at))
    for name in ["stem", *STAGES]:
        part = getattr(backbone, name)
        is_frozen = name in frozen
        assert all(parameter.requires_grad != is_frozen for parameter in part.parameters()), name
        assert any(isinstance(module, FrozenBatchNorm2d) for module in part.modules()) == is_frozen, name


def test_bad_input_and_registry():
    backbone = build_backbone(resnet_cfg(18, OUT_FEATURES=["stem"]), ShapeSpec(channels=1))
    assert backbone.stem.conv1.weight.shape == (64, 1, 7, 7)
    with pytest.raises((ValueError, AssertionError)):
        backbone(torch.zeros(1, 32, 32))
    with pytest.raises(KeyError, match="no_such_backbone"):
        BACKBONE_REGISTRY.get("no_such_backbone")
    with pytest.raises((ValueError, AssertionError)):
        build_backbone(resnet_cfg(18, RES2_OUT_CHANNELS=256))
