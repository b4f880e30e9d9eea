"""A proposer small enough for tests: 64 channels, 8 queries, 2 decoder layers, TinyBackbone."""

import pytest

from masqclip_d2.config import get_masqclip_cfg


@pytest.fixture
def tiny_cfg():
    cfg = get_masqclip_cfg()
    cfg.MODEL.BACKBONE.NAME = "TinyBackbone"
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.28, 103.53]
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    cfg.MODEL.MASQCLIP.PROPOSER.TINY_BACKBONE_WIDTHS = [16, 16, 32, 32]
    cfg.MODEL.MASQCLIP.PROPOSER.ENCODER_FFN_DIM = 48
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME = "MaskProposalHead"
    head.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    head.NUM_CLASSES = 1
    head.CONVS_DIM = head.MASK_DIM = 64
    head.TRANSFORMER_ENC_LAYERS = 1
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS = 4
    former = cfg.MODEL.MASK_FORMER
    former.HIDDEN_DIM = 64
    former.NHEADS = 4
    former.DIM_FEEDFORWARD = 48
    former.DEC_LAYERS = 3
    former.NUM_OBJECT_QUERIES = 8
    former.TRAIN_NUM_POINTS = 128
    return cfg
