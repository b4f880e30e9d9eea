"""A user's proposer with a network: trained as a model of its own, then the proposer of a method."""

import json

import pytest
import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from masqclip_d2.checkpoint import StrictCheckpointer
from masqclip_d2.engine.trainer import Trainer
from masqclip_d2.meta_arch import ProposalNetwork
from masqclip_d2.proposer import PROPOSER_REGISTRY, NetworkProposer
from masqclip_d2.structures import MaskProposals
from tests.helpers import tiny_config

OPTIONS = (
    "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "('mini_shapes_val',)", "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.STEPS", "()",
)  # fmt: skip


class ConvProposer(NetworkProposer):
    """Masks of one convolution."""

    @configurable
    def __init__(self, **inputs):
        super().__init__(**inputs)
        self.conv = torch.nn.Conv2d(3, 4, 8, 8)

    @classmethod
    def from_config(cls, cfg):
        return cls.input_arguments(cfg)

    def propose_in_batch(self, batch, image_hw):
        padded_hw = tuple(batch.shape[-2:])
        logits = self.conv(batch)
        return [MaskProposals(each, torch.ones(4), hw, padded_hw) for each, hw in zip(logits, image_hw, strict=True)]


class ConvProposalNetwork(ProposalNetwork, ConvProposer):
    """The proposer with a loss: each mask covers the objects."""

    @configurable
    def __init__(self, **arguments):
        super().__init__(**arguments)

    @classmethod
    def from_config(cls, cfg):
        return {**super().from_config(cfg), "topk": 10}

    def losses(self, batched_inputs):
        loss = torch.zeros(())
        for record in batched_inputs:
            covered = self.target_masks(record).any(0).float()
            logits = self.conv(self.preprocess([record["image"]]))
            whole = torch.nn.functional.interpolate(logits, covered.shape)[0]
            loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(whole, covered.expand_as(whole))
        return {"loss_mask": loss}


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(PROPOSER_REGISTRY._obj_map, "ConvProposer", ConvProposer)
    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "ConvProposalNetwork", ConvProposalNetwork)


def test_it_trains_and_is_the_proposer_of_a_method(tmp_path, mini_shapes, registered):
    cfg = tiny_config(tmp_path, "ConvProposalNetwork", *OPTIONS)
    trainer = Trainer(cfg)
    before = trainer.model.conv.weight.detach().clone()
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert not torch.equal(trainer.model.conv.weight, before)
    results = json.loads((tmp_path / "output" / "results.json").read_text())["results"]
    assert "AR@100" in results["mini_shapes_val"]["proposals"]

    source = ("MODEL.MASQCLIP.PROPOSER.SOURCE", "ConvProposer")
    weights = ("MODEL.WEIGHTS", f"{tmp_path}/output/model_final.pth")
    cfg = tiny_config(tmp_path, "MaskCLIP", *OPTIONS, *source, *weights, "MODEL.MASQCLIP.RMA.LAYERS", "[]")
    model = Trainer.build_model(cfg)
    model.allow_missing = (r"visual_encoder\.", r"text_classifier\.")
    StrictCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    assert torch.equal(model.proposer.conv.weight, trainer.model.conv.weight)
