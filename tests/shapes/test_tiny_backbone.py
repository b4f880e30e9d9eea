import pytest
import torch
from detectron2.modeling import build_backbone

from masqclip_d2.shapes.tiny_backbone import TinyBackbone


def test_output_matches_output_shape(tiny_cfg):
    backbone = build_backbone(tiny_cfg)
    features = backbone(torch.randn(2, 3, 96, 64))
    shapes = backbone.output_shape()
    assert list(features) == list(shapes) == ["res2", "res3", "res4", "res5"]
    for name, spec in shapes.items():
        assert features[name].shape == (2, spec.channels, 96 // spec.stride, 64 // spec.stride)


def test_image_does_not_depend_on_the_rest_of_the_batch():
    backbone = TinyBackbone(widths=[16, 16, 32, 32]).train()
    images = torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(backbone(images)["res5"][1:2], backbone(images[1:2])["res5"])


@pytest.mark.parametrize("widths", [[16, 16, 32], [16, 16, 32, 40], [0, 16, 32, 32]])
def test_wrong_widths_are_refused(widths):
    with pytest.raises(ValueError, match="four or more positive multiples of 16"):
        TinyBackbone(widths=widths)


def test_a_fifth_width_adds_a_level_at_stride_64():
    backbone = TinyBackbone(widths=[16, 16, 32, 32, 48])
    features = backbone(torch.randn(1, 3, 128, 192))
    assert features["res6"].shape == (1, 48, 2, 3)
    assert backbone.output_shape()["res6"].stride == 64
