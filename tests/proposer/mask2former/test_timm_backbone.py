"""A user's file with a timm Swin as backbone of the Mask2Former proposer, at odd image sizes."""

import sys

import pytest
import torch
from detectron2.modeling import BACKBONE_REGISTRY, build_model
from detectron2.structures import BitMasks, Instances

from masqclip_d2.engine.optimizer import build_optimizer
from masqclip_d2.user_code import import_user_code
from tests.helpers import random_image, tiny_config

pytest.importorskip("timm")

# docs/extending.md shows this file with the sizes of a published Swin.
TIMM_SWIN = """
import timm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, ShapeSpec


@BACKBONE_REGISTRY.register()
class TimmSwin(Backbone):
    def __init__(self, cfg, input_shape):
        super().__init__()
        self.network = timm.create_model(
            "swin_tiny_patch4_window7_224", features_only=True, strict_img_size=False,
            embed_dim=16, depths=(2, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=3,
        )

    @property
    def size_divisibility(self):
        return 32

    def forward(self, x):
        return {f"res{i}": feature.permute(0, 3, 1, 2) for i, feature in enumerate(self.network(x), start=2)}

    def output_shape(self):
        info = self.network.feature_info
        shapes = zip(info.channels(), info.reduction(), strict=True)
        return {f"res{i}": ShapeSpec(channels=c, stride=s) for i, (c, s) in enumerate(shapes, start=2)}
"""
SIZES = ((33, 47), (64, 96), (1, 130))


@pytest.fixture
def cfg(tmp_path):
    """A proposer with the user's backbone, whose registration is removed after the test."""
    entries, modules = dict(BACKBONE_REGISTRY._obj_map), set(sys.modules)
    (tmp_path / "timm_swin.py").write_text(TIMM_SWIN)
    import_user_code([tmp_path / "timm_swin.py"])
    yield tiny_config(tmp_path, "MaskProposer", "MODEL.BACKBONE.NAME", "TimmSwin")
    BACKBONE_REGISTRY._obj_map.clear()
    BACKBONE_REGISTRY._obj_map.update(entries)
    for name in [name for name in sys.modules if name not in modules and name.startswith("masqclip_user")]:
        del sys.modules[name]


def annotated(hw):
    """An image with two objects: its left and its right half."""
    masks = torch.zeros(2, *hw, dtype=torch.bool)
    masks[0, :, : hw[1] // 2] = masks[1, :, hw[1] // 2 :] = True
    return {"image": random_image(*hw, seed=hw[0]), "instances": Instances(hw, gt_masks=BitMasks(masks))}


def test_five_training_steps(cfg):
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    before = {name: parameter.detach().clone() for name, parameter in model.backbone.named_parameters()}
    for step in range(5):
        losses = model([annotated(SIZES[step % 3]), annotated(SIZES[(step + 1) % 3])])
        assert all(torch.isfinite(loss) for loss in losses.values())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    unchanged = [name for name, value in model.backbone.named_parameters() if torch.equal(value, before[name])]
    assert before and not unchanged


def test_proposals_do_not_depend_on_earlier_image_sizes(cfg):
    model = build_model(cfg).eval()
    alone = model.propose([annotated(SIZES[0])])[0]
    together = model.propose([annotated(hw) for hw in SIZES])
    assert [proposals.image_hw for proposals in together] == list(SIZES)
    torch.testing.assert_close(together[0].mask_logits, alone.mask_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.propose([annotated(SIZES[0])])[0].mask_logits, alone.mask_logits)
