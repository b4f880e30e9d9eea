"""DefaultPredictor: channel order, resizing, image sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultPredictor
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from torch import nn


class ContractEcho(nn.Module):
    """Returns its input, times a weight."""

    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs):
        assert not torch.is_grad_enabled()
        return [dict(input, image=input["image"] * self.weight, training=self.training) for input in inputs]


if "ContractEcho" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(ContractEcho)


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "ContractEcho"
    cfg.INPUT.MIN_SIZE_TEST = 20
    cfg.INPUT.MAX_SIZE_TEST = 30
    return cfg


@pytest.mark.parametrize(("image_format", "expected"), [("BGR", [10, 20, 30]), ("RGB", [30, 20, 10])])
def test_input_is_bgr_for_every_input_format(cfg, image_format, expected):
    cfg.INPUT.FORMAT = image_format
    picture = np.full((10, 12, 3), (10, 20, 30), dtype=np.uint8)
    output = DefaultPredictor(cfg)(picture)
    assert output["image"].dtype == torch.float32 and output["image"].shape == (3, 20, 24)
    assert output["image"][:, 5, 5].tolist() == expected
    assert (output["height"], output["width"]) == (10, 12) and output["training"] is False


def test_the_longer_side_is_limited(cfg):
    assert DefaultPredictor(cfg)(np.zeros((10, 30, 3), np.uint8))["image"].shape == (3, 10, 30)


def test_weights_and_metadata(cfg, tmp_path, dataset_name):
    torch.save({"model": {"weight": torch.tensor([2.0])}}, tmp_path / "a.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "a.pth")
    cfg.DATASETS.TEST = (dataset_name,)
    predictor = DefaultPredictor(cfg)
    assert predictor(np.full((20, 20, 3), 7, np.uint8))["image"].max() == 14
    assert predictor.metadata is MetadataCatalog.get(dataset_name)


def test_other_formats_are_refused(cfg):
    cfg.INPUT.FORMAT = "L"
    with pytest.raises((ValueError, AssertionError)):
        DefaultPredictor(cfg)


def test_build_model(cfg):
    model = build_model(cfg)
    assert isinstance(model, ContractEcho) and model.training
    cfg.MODEL.META_ARCHITECTURE = "NoSuchModel"
    with pytest.raises(KeyError, match="NoSuchModel"):
        build_model(cfg)
