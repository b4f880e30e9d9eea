"""A meta-architecture that inherits nothing of this package is trained, evaluated, augmented, pickled and copied."""

import copy
import json
import pickle
from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from masqclip_d2.engine.trainer import Trainer
from tests.helpers import tiny_config


class CountSteps(HookBase):
    steps = 0

    def after_step(self):
        CountSteps.steps += 1


class ForeignSegmenter(nn.Module):
    """Pixels are compared with one learned color per character of a category name: a vocabulary of any size."""

    def __init__(self, cfg):
        super().__init__()
        self.colors = nn.Embedding(128, 3)
        self.device = torch.device(cfg.MODEL.DEVICE)
        self.vocabulary = None

    def set_vocabulary(self, vocabulary):
        self.vocabulary = vocabulary

    def build_hooks(self, cfg):
        return [CountSteps()]

    def scores(self, image):
        """(K, H, W) class scores."""
        text = [self.colors(torch.tensor([ord(c) % 128 for c in name])).mean(0) for name in self.vocabulary.names]
        pixels = image.to(self.device).float() / 255
        return torch.einsum("kc,chw->khw", torch.stack(text), pixels)

    def forward(self, batched_inputs):
        if self.training:
            return {"loss_pixels": sum(self.loss(record) for record in batched_inputs) / len(batched_inputs)}
        return [self.semantic_predictions([self.semantic_view(r["image"], False)], size_of(r)) for r in batched_inputs]

    def loss(self, record):
        scores = self.scores(record["image"])
        instances = record["instances"]
        if not len(instances):
            return scores.sum() * 0
        target = torch.full(scores.shape[1:], -1)
        for mask, category in zip(instances.gt_masks.tensor, instances.gt_classes, strict=True):
            target[mask] = category
        return F.cross_entropy(scores[None], target[None], ignore_index=-1)

    def semantic_view(self, image, mirrored):
        scores = self.scores(image.flip(-1) if mirrored else image)
        return scores.flip(-1) if mirrored else scores

    def semantic_predictions(self, views, output_hw):
        resized = [F.interpolate(scores[None], output_hw, mode="bilinear")[0] for scores in views]
        scores = torch.stack(resized).mean(0)
        return {"sem_seg_labels": scores.argmax(0), "sem_seg_confidence": scores.amax(0)}


def size_of(record):
    return record["height"], record["width"]


@pytest.fixture
def foreign_config(tmp_path, mini_shapes):
    META_ARCH_REGISTRY._do_register("ForeignSegmenter", ForeignSegmenter)
    yield tiny_config(
        tmp_path, "ForeignSegmenter", "SOLVER.MAX_ITER", "4", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.BASE_LR", "0.05",
        "DATALOADER.NUM_WORKERS", "0", "DATASETS.TRAIN", "('mini_shapes_train',)",
        "DATASETS.TEST", "('mini_shapes_val',)", "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "False",
        "MODEL.MASK_FORMER.TEST.INSTANCE_ON", "False", "TEST.EVAL_PERIOD", "2",
        "TEST.BEST_CHECKPOINT_METRIC", "sem_seg/mIoU",
    )  # fmt: skip
    META_ARCH_REGISTRY._obj_map.pop("ForeignSegmenter")


def test_it_is_trained_and_evaluated(foreign_config):
    CountSteps.steps = 0
    trainer = Trainer(foreign_config)
    trainer.resume_or_load(resume=False)
    vocabulary = trainer.model.vocabulary
    before = trainer.model.colors.weight.clone()
    trainer.train()
    assert CountSteps.steps == 4  # its own hook
    assert not torch.equal(trainer.model.colors.weight, before)
    # The training categories return after evaluations.
    assert trainer.model.vocabulary == vocabulary and len(vocabulary) == 24
    output = Path(foreign_config.OUTPUT_DIR)
    results = json.loads((output / "results.json").read_text())["results"]["mini_shapes_val"]
    assert 0 <= results["sem_seg"]["mIoU"] <= 100
    assert (output / "model_best.pth").is_file()

    foreign_config.MODEL.WEIGHTS = str(output / "model_final.pth")
    foreign_config.TEST.AUG.ENABLED = True
    foreign_config.TEST.AUG.MIN_SIZES = (64, 96)
    evaluated = Trainer.evaluate_weights(foreign_config)
    assert evaluated["sem_seg"]["mIoU"] == pytest.approx(results["sem_seg"]["mIoU"])
    assert "mIoU" in evaluated["sem_seg_TTA"]


def test_resuming_continues_at_the_next_iteration(foreign_config):
    foreign_config.SOLVER.MAX_ITER = 2
    Trainer(foreign_config).train()
    foreign_config.SOLVER.MAX_ITER = 4
    trainer = Trainer(foreign_config)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 2


@pytest.mark.parametrize("amp", [False, True])
def test_our_models_can_be_pickled_and_copied_while_they_train(tmp_path, mini_shapes, monkeypatch, amp):
    monkeypatch.setattr("masqclip_d2.engine.trainer.bfloat16_is_native", lambda: True)
    for name in ("MaskProposer", "MasQCLIP"):
        cfg = tiny_config(
            tmp_path, name, "SOLVER.MAX_ITER", "1", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0",
            "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "()", "SOLVER.AMP.ENABLED", str(amp),
        )  # fmt: skip
        trainer = Trainer(cfg)
        trainer.train()
        state = trainer.model.state_dict()
        for same in (pickle.loads(pickle.dumps(trainer.model)), copy.deepcopy(trainer.model)):
            assert all(torch.equal(value, state[key]) for key, value in same.state_dict().items())
            assert same.forward.__self__ is same  # not the method of the original
