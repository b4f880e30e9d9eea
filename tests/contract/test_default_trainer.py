"""DefaultTrainer: its parts, hooks, files and resuming; command line and setup."""

from __future__ import annotations

import json
import logging
import random
from argparse import Namespace

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer, HookBase, default_argument_parser, default_setup, hooks
from detectron2.evaluation import DatasetEvaluator
from torch import nn

from masqclip_d2 import detectron2_backend


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        if not self.training:
            return batch
        return {"loss_a": (self.weight * batch).sum(), "loss_b": (2 * self.weight * batch).sum()}


class Evaluator(DatasetEvaluator):
    def evaluate(self):
        return {"task": {"AP": 12.5}}


class Trainer(DefaultTrainer):
    @classmethod
    def build_model(cls, cfg):
        return Model()

    @classmethod
    def build_train_loader(cls, cfg):
        return [torch.ones(1)] * 1000

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return [torch.ones(1)]

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return Evaluator()


@pytest.fixture
def cfg(tmp_path):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    cfg.DATASETS.TEST = ("a",)
    cfg.SOLVER.MAX_ITER = 25
    cfg.SOLVER.STEPS = ()
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.BASE_LR = 0.001
    cfg.SOLVER.MOMENTUM = 0.0
    cfg.SOLVER.WEIGHT_DECAY = 0.0
    cfg.SOLVER.CHECKPOINT_PERIOD = 10
    (tmp_path / "out").mkdir()
    return cfg


def test_hooks_and_their_order(cfg):
    names = [type(hook).__name__ for hook in Trainer(cfg)._hooks]
    assert names == ["IterationTimer", "LRScheduler", "PeriodicCheckpointer", "EvalHook", "PeriodicWriter"]


def test_a_run_and_its_files(cfg, tmp_path):
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    assert trainer.train() is None
    out = tmp_path / "out"
    assert trainer.model.weight.item() == pytest.approx(1 - 25 * 0.003, abs=1e-5)
    assert sorted(path.name for path in out.glob("*.pth")) == [
        "model_0000009.pth", "model_0000019.pth", "model_final.pth",
    ]  # fmt: skip
    assert (out / "last_checkpoint").read_text() == "model_final.pth"
    content = torch.load(out / "model_0000009.pth", weights_only=True)
    assert set(content) == {"model", "trainer", "iteration"} and content["iteration"] == 9
    assert list(content["model"]) == ["weight"]
    assert content["trainer"]["iteration"] == 9
    assert content["trainer"]["hooks"] == {"LRScheduler": {"base_lrs": [0.001], "last_epoch": 10}}
    # In the real library, too, the outer trainer sets the iteration of the inner one.
    assert set(content["trainer"]["_trainer"]) == {"iteration", "optimizer"}

    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [19, 24, 25]
    assert set(lines[0]) == {
        "data_time", "eta_seconds", "iteration", "loss_a", "loss_b", "lr", "rank_data_time", "time", "total_loss",
    }  # fmt: skip
    assert lines[2] == {"iteration": 25, "task/AP": 12.5}
    assert list(out.glob("events.out.tfevents.*"))


def test_periodic_evaluation_is_written(cfg, tmp_path):
    cfg.TEST.EVAL_PERIOD = 20
    Trainer(cfg).train()
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "task/AP" in line] == [19, 25]


def test_resume(cfg, tmp_path):
    cfg.SOLVER.MAX_ITER = 10
    Trainer(cfg).train()
    cfg.SOLVER.MAX_ITER = 15
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 10
    assert trainer.model.weight.item() == pytest.approx(1 - 10 * 0.003, abs=1e-5)
    assert trainer.scheduler.last_epoch == 10
    trainer.train()
    assert trainer.model.weight.item() == pytest.approx(1 - 15 * 0.003, abs=1e-5)
    assert torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["iteration"] == 14


def test_resume_from_a_checkpoint_written_elsewhere(cfg, tmp_path):
    group = {"lr": 0.001, "momentum": 0.0, "dampening": 0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
    group |= {"foreach": None, "differentiable": False, "fused": None, "initial_lr": 0.001, "params": [0]}
    optimizer = {"state": {}, "param_groups": [group]}
    trainer_state = {
        "iteration": 19,
        "hooks": {"LRScheduler": {"base_lrs": [0.001], "last_epoch": 20}},
        "_trainer": {"iteration": 19, "optimizer": optimizer},
    }
    content = {"model": {"weight": torch.tensor([5.0])}, "trainer": trainer_state, "iteration": 19}
    torch.save(content, tmp_path / "out" / "model_0000019.pth")
    (tmp_path / "out" / "last_checkpoint").write_text("model_0000019.pth")
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 20 and trainer.model.weight.item() == 5.0 and trainer.scheduler.last_epoch == 20
    trainer.train()
    assert trainer.model.weight.item() == pytest.approx(5 - 5 * 0.003, abs=1e-5)


def test_no_resume_loads_only_the_model(cfg, tmp_path):
    torch.save({"model": {"weight": torch.tensor([7.0])}, "iteration": 99}, tmp_path / "given.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "given.pth")
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    assert trainer.start_iter == 0 and trainer.model.weight.item() == 7.0
    trainer.resume_or_load(resume=True)  # no checkpoint: loads the same weights
    assert trainer.start_iter == 0


def test_evaluation_comes_after_the_checkpoint(cfg, tmp_path):
    class Broken(Trainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            raise RuntimeError("no evaluator today")

    cfg.TEST.EVAL_PERIOD = 10
    with pytest.raises(RuntimeError, match="today"):
        Broken(cfg).train()
    assert (tmp_path / "out" / "last_checkpoint").read_text() == "model_0000009.pth"


def test_expected_results(cfg):
    cfg.SOLVER.MAX_ITER = 1
    cfg.TEST.EXPECTED_RESULTS = [["task", "AP", 12.0, 1.0]]
    assert Trainer(cfg).train() == {"task": {"AP": 12.5}}
    cfg.TEST.EXPECTED_RESULTS = [["task", "AP", 12.0, 0.1]]
    with pytest.raises(SystemExit) as caught:
        Trainer(cfg).train()
    assert caught.value.code == 1


def test_test_returns_one_or_several_results(cfg):
    model = Model()
    assert Trainer.test(cfg, model) == {"task": {"AP": 12.5}}
    cfg.DATASETS.TEST = ("a", "b")
    assert Trainer.test(cfg, model, [Evaluator(), Evaluator()]) == {
        "a": {"task": {"AP": 12.5}},
        "b": {"task": {"AP": 12.5}},
    }
    with pytest.raises((ValueError, AssertionError)):
        Trainer.test(cfg, model, [Evaluator()])

    class WithoutEvaluator(Trainer):
        build_evaluator = DefaultTrainer.build_evaluator

    assert WithoutEvaluator.test(cfg, model) == {"a": {}, "b": {}}


@pytest.mark.skipif(
    detectron2_backend().kind == "real", reason="the real DefaultTrainer tells after_backward to no registered hook"
)
def test_after_backward_reaches_the_hooks(cfg):
    seen = []

    class Hook(HookBase):
        def after_backward(self):
            seen.append(self.trainer.model.weight.grad.item())

    cfg.SOLVER.MAX_ITER = 2
    trainer = Trainer(cfg)
    trainer.register_hooks([Hook()])
    trainer.train()
    assert seen == [3.0, 3.0]


@pytest.mark.skipif(detectron2_backend().kind == "real", reason="known fault of the real library: AMP needs CUDA")
def test_amp_on_cpu_trains(cfg):
    cfg.SOLVER.MAX_ITER = 2
    cfg.SOLVER.AMP.ENABLED = True
    trainer = Trainer(cfg)
    trainer.train()
    assert trainer.model.weight.item() == pytest.approx(1 - 2 * 0.003, abs=1e-5)


def test_auto_scale_workers(cfg):
    assert DefaultTrainer.auto_scale_workers(cfg, 4) is cfg
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 8
    cfg.SOLVER.IMS_PER_BATCH = 16
    cfg.SOLVER.STEPS = (10, 20)
    cfg.SOLVER.WARMUP_ITERS = 4
    cfg.TEST.EVAL_PERIOD = 5
    cfg.freeze()
    scaled = DefaultTrainer.auto_scale_workers(cfg, 4)
    assert scaled.SOLVER.REFERENCE_WORLD_SIZE == 4 and scaled.is_frozen()
    assert (scaled.SOLVER.IMS_PER_BATCH, scaled.SOLVER.BASE_LR) == (8, 0.0005)
    assert (scaled.SOLVER.MAX_ITER, scaled.SOLVER.STEPS, scaled.SOLVER.WARMUP_ITERS) == (50, (20, 40), 8)
    assert (scaled.SOLVER.CHECKPOINT_PERIOD, scaled.TEST.EVAL_PERIOD) == (20, 10)
    assert cfg.SOLVER.IMS_PER_BATCH == 16


def test_argument_parser():
    arguments = default_argument_parser().parse_args([])
    assert vars(arguments) | {"dist_url": ""} == {
        "config_file": "", "resume": False, "eval_only": False, "num_gpus": 1, "num_machines": 1, "machine_rank": 0,
        "dist_url": "", "opts": [],
    }  # fmt: skip
    port = int(arguments.dist_url.removeprefix("tcp://127.0.0.1:"))
    assert 49152 <= port < 65536
    arguments = default_argument_parser().parse_args(["--eval-only", "--num-gpus", "0", "MODEL.DEVICE", "cpu"])
    assert arguments.eval_only and arguments.num_gpus == 0 and arguments.opts == ["MODEL.DEVICE", "cpu"]


def test_default_setup(cfg, tmp_path):
    cfg.OUTPUT_DIR = str(tmp_path / "new" / "folder")
    cfg.SEED = 5
    config_file = tmp_path / "given.yaml"
    config_file.write_text("SEED: 5  # a comment\n")
    benchmark = torch.backends.cudnn.benchmark
    try:
        default_setup(cfg, Namespace(config_file=str(config_file), eval_only=True))
        draws = (random.random(), np.random.rand(), torch.rand(1).item())
        default_setup(cfg, Namespace())
        assert draws == (random.random(), np.random.rand(), torch.rand(1).item())
        logging.getLogger("detectron2.test").info("a line of ours")
        log = (tmp_path / "new" / "folder" / "log.txt").read_text()
        assert "a comment" in log and "a line of ours" in log
        loaded = get_cfg()
        loaded.merge_from_file(str(tmp_path / "new" / "folder" / "config.yaml"))
        assert loaded.SEED == 5 and loaded.SOLVER.MAX_ITER == 25
    finally:
        torch.backends.cudnn.benchmark = benchmark
        for name in ("detectron2", "fvcore"):
            logging.getLogger(name).handlers.clear()


def test_hooks_are_importable_from_engine():
    assert issubclass(hooks.EvalHook, HookBase)
