import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_backbone, build_sem_seg_head

from masqclip_d2.config import get_masqclip_cfg
from masqclip_d2.proposer import Mask2FormerProposer, MaskProposalHead

CHECKPOINT_KEYS = Path(__file__).parent.parent.parent / "golden" / "checkpoint_keys.json"


@pytest.fixture
def r50_cfg():
    """The published sizes."""
    cfg = get_masqclip_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    cfg.MODEL.RESNETS.DEPTH = 50
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME = "MaskProposalHead"
    head.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    head.NUM_CLASSES = 1
    head.CONVS_DIM = 256
    return cfg


def _published(model: str) -> dict[str, tuple]:
    entries = json.loads(CHECKPOINT_KEYS.read_text())[model]["entries"]
    return {name: tuple(shape) for name, shape in entries if name.startswith(("backbone.", "sem_seg_head."))}


@pytest.mark.parametrize(
    ("model", "num_classes"),
    [
        ("mask2former_class_agnostic", 1),
        ("maskclip", 0),  # its proposer has no class_embed
    ],
)
def test_names_and_shapes_are_the_published_ones(r50_cfg, model, num_classes):
    r50_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = num_classes
    with torch.device("meta"):
        proposer = Mask2FormerProposer(r50_cfg)
    assert {name: tuple(t.shape) for name, t in proposer.state_dict().items()} == _published(model)


def test_built_by_registered_name(tiny_cfg):
    backbone = build_backbone(tiny_cfg)
    head = build_sem_seg_head(tiny_cfg, backbone.output_shape())
    assert isinstance(head, MaskProposalHead)
    assert len(head.predictor.transformer_ffn_layers) == 2  # DEC_LAYERS 3 counts predictions
    outputs = head(backbone(torch.randn(2, 3, 64, 96)))
    assert outputs["pred_masks"].shape == (2, 8, 16, 24)
    assert outputs["pred_logits"].shape == (2, 8, 2)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.MASK_FORMER.DROPOUT", 0.1, "Dropout, .* not supported"),
        ("MODEL.MASK_FORMER.PRE_NORM", True, "PRE_NORM False"),
        ("MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ", True, "ENFORCE_INPUT_PROJ False"),
        ("MODEL.MASK_FORMER.HIDDEN_DIM", 96, "must be equal"),
        ("MODEL.MASK_FORMER.DEC_LAYERS", 1, "at least 2"),
        ("MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res3", "res4", "res5"], "one fine level"),
        (
            "MODEL.SEM_SEG_HEAD.IN_FEATURES",
            ["res2", "res6"],
            "names res6; the levels of the backbone TinyBackbone are r",
        ),
    ],
)
def test_unsupported_settings_are_refused(tiny_cfg, key, value, message):
    tiny_cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=message):
        Mask2FormerProposer(tiny_cfg)
