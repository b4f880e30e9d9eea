"""Hooks named in the key HOOKS take part in a training."""

import pytest
from detectron2.engine import HookBase

from masqclip_d2.engine import HOOK_REGISTRY
from masqclip_d2.engine.hook_registry import build_registered_hooks
from masqclip_d2.engine.trainer import Trainer
from tests.helpers import tiny_config


@pytest.fixture
def logger(monkeypatch):
    """A registered hook that keeps the scalars of each iteration."""

    class ScalarLogger(HookBase):
        logged: list[dict] = []

        def __init__(self, cfg):
            self.max_iter = cfg.SOLVER.MAX_ITER

        def after_step(self):
            self.logged.append({name: value for name, (value, _) in self.trainer.storage.latest().items()})

    monkeypatch.setitem(HOOK_REGISTRY._obj_map, "ScalarLogger", ScalarLogger)
    return ScalarLogger


def config(folder, hooks):
    return tiny_config(
        folder, "MaskProposer", "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0",
        "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "()", "HOOKS", hooks,
    )  # fmt: skip


def test_a_registered_hook_sees_each_iteration(tmp_path, logger, mini_shapes):
    Trainer(config(tmp_path, "['ScalarLogger']")).train()
    assert len(logger.logged) == 2
    assert all(scalars["total_loss"] > 0 and "lr" in scalars for scalars in logger.logged)


def test_an_unknown_hook_is_refused(tmp_path, logger):
    with pytest.raises(ValueError, match="HOOKS is 'CometLogger'; known: .*ScalarLogger.*--import FILE"):
        build_registered_hooks(config(tmp_path, "['CometLogger']"))


def test_what_is_no_hook_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(HOOK_REGISTRY._obj_map, "Number", lambda cfg: 3)
    with pytest.raises(ValueError, match="'Number', which is int, not a HookBase"):
        build_registered_hooks(config(tmp_path, "['Number']"))
