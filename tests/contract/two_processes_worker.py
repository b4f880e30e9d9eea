"""Functions that the processes of test_launch.py run, in a module that spawned processes can import."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer, default_setup
from detectron2.utils import comm
from torch import nn

from masqclip_d2.engine.launch import leave_process_group


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return {"loss": (self.weight * batch).sum(), "constant": torch.ones(1).sum()}


class Trainer(DefaultTrainer):
    @classmethod
    def build_model(cls, cfg):
        return Model()

    @classmethod
    def build_train_loader(cls, cfg):
        return [torch.tensor([1.0 + 2.0 * comm.get_rank()])] * 100  # 1 on rank 0, 3 on rank 1

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        raise AssertionError("DATASETS.TEST is empty")


def report_to(folder):
    gathered = comm.gather(comm.get_rank() * 10)
    report = {
        "rank": comm.get_rank(),
        "local": [comm.get_local_rank(), comm.get_local_size()],
        "world": comm.get_world_size(),
        "gathered": gathered,
        "all": comm.all_gather({"rank": comm.get_rank()}),
        "seed": comm.shared_random_seed(),
    }
    Path(folder, f"{report['rank']}.json").write_text(json.dumps(report))
    leave_process_group()  # as the train command does: gloo may abort a process at its exit


def train_in(folder):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.OUTPUT_DIR = folder
    cfg.SOLVER.MAX_ITER = 3
    cfg.SOLVER.STEPS = ()
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.BASE_LR = 0.1
    cfg.SOLVER.MOMENTUM = 0.0
    cfg.SOLVER.WEIGHT_DECAY = 0.0
    default_setup(cfg, None)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    report_to(folder)
