"""Best weights by a metric: kept across evaluations and resumed runs; --resume never loads them."""

import json
import math

import pytest
import torch

from masqclip_d2.engine.best_checkpoint import metric_of
from masqclip_d2.engine.trainer import Trainer
from tests.helpers import tiny_config

METRIC = "proposals/AR@100"


def config(folder, *opts):
    return tiny_config(
        folder, "MaskProposer", "SOLVER.MAX_ITER", "4", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.CHECKPOINT_PERIOD", "2",
        "SOLVER.STEPS", "()", "DATALOADER.NUM_WORKERS", "0", "DATASETS.TRAIN", "('mini_shapes_train',)",
        "DATASETS.TEST", "('mini_shapes_val',)", "TEST.EVAL_PERIOD", "1", "TEST.BEST_CHECKPOINT_METRIC", METRIC, *opts,
    )  # fmt: skip


@pytest.fixture
def values(monkeypatch, mini_shapes):
    """Values of the metric in the next evaluations."""
    given = []

    def test(cls, cfg, model, evaluators=None):
        return {"proposals": {"AR@100": given.pop(0), "AR@100-cat": 1.0}}

    monkeypatch.setattr(Trainer, "test", classmethod(test))
    return given


def best(folder):
    return torch.load(folder / "output" / "model_best.pth", weights_only=True)


def train(cfg, resume=False):
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def test_the_best_weights_are_kept(tmp_path, values, caplog):
    values += [10.0, 30.0, math.nan, 20.0]
    with caplog.at_level("INFO", logger="masqclip_d2"):
        train(config(tmp_path))
    kept = best(tmp_path)
    assert (kept["metric"], kept["value"], kept["iteration"]) == (METRIC, 30.0, 1)
    same = torch.load(tmp_path / "output" / "model_0000001.pth", weights_only=True)["model"]  # after two iterations
    assert all(torch.equal(value, same[name]) for name, value in kept["model"].items())
    assert "proposals/AR@100: 30.0000 after 2 iterations, the best so far" in caplog.text
    assert "proposals/AR@100: 20.0000, not above the best, 30.0000." in caplog.text
    assert (tmp_path / "output" / "last_checkpoint").read_text() == "model_final.pth"


def test_the_evaluation_after_training_counts(tmp_path, values):
    values += [10.0, 5.0, 7.0, 11.0]
    trainer = train(config(tmp_path))
    assert (best(tmp_path)["value"], best(tmp_path)["iteration"]) == (11.0, 3)
    state = trainer.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in best(tmp_path)["model"].items())


def test_a_resumed_run_keeps_the_best_value(tmp_path, values, caplog):
    values += [40.0, 30.0]
    train(config(tmp_path, "SOLVER.MAX_ITER", "2"))
    values += [35.0, 36.0]
    with caplog.at_level("INFO", logger="masqclip_d2"):
        train(config(tmp_path), resume=True)
    assert (best(tmp_path)["value"], best(tmp_path)["iteration"]) == (40.0, 0)
    assert "The best proposals/AR@100 so far: 40.0000, after 1 iterations." in caplog.text


def test_an_evaluation_that_a_kill_prevented_is_repeated(tmp_path, values, caplog):
    """A checkpoint is written before the evaluation of its iteration."""
    values += [10.0, 30.0]
    with pytest.raises(IndexError):  # in the third evaluation
        train(config(tmp_path, "SOLVER.CHECKPOINT_PERIOD", "1"))
    assert (tmp_path / "output" / "last_checkpoint").read_text() == "model_0000002.pth"
    values += [50.0, 20.0]
    with caplog.at_level("INFO", logger="masqclip_d2"):
        train(config(tmp_path, "SOLVER.CHECKPOINT_PERIOD", "1"), resume=True)
    assert (best(tmp_path)["value"], best(tmp_path)["iteration"]) == (50.0, 2)
    assert "interrupted before the evaluation of its last checkpoint" in caplog.text and values == []


def test_a_fresh_run_and_another_metric_start_without_a_value(tmp_path, values, caplog):
    values += [40.0, 30.0]
    train(config(tmp_path, "SOLVER.MAX_ITER", "2"))
    values += [3.0, 2.0]
    train(config(tmp_path, "SOLVER.MAX_ITER", "2"))
    assert best(tmp_path)["value"] == 3.0
    values += [1.5, 0.5]
    train(config(tmp_path, "TEST.BEST_CHECKPOINT_METRIC", "proposals/AR@100-cat"), resume=True)
    assert best(tmp_path)["metric"] == "proposals/AR@100-cat"
    assert "model_best.pth is the best by proposals/AR@100; from now on" in caplog.text


def test_an_unknown_metric_lists_the_known_ones(tmp_path, values):
    values += [40.0]
    with pytest.raises(ValueError, match=r"METRIC is 'panoptic_seg/PQ', but the evaluation has: proposals/AR@100\."):
        train(config(tmp_path, "TEST.BEST_CHECKPOINT_METRIC", "panoptic_seg/PQ"))


def test_a_missing_test_set_is_an_error_before_training(tmp_path, mini_shapes):
    with pytest.raises(
        ValueError, match="TEST.BEST_CHECKPOINT_METRIC is 'proposals/AR@100', but DATASETS.TEST is empty"
    ):
        Trainer(config(tmp_path, "DATASETS.TEST", "()"))


def test_metrics_of_several_test_sets_begin_with_the_set():
    results = {"one": {"sem_seg": {"mIoU": 1.0}}, "two": {"sem_seg": {"mIoU": 2.0, "IoU-a/b": 3.0}}}
    assert metric_of(results, "two/sem_seg/mIoU") == 2.0
    with pytest.raises(ValueError, match=r"has: one/sem_seg/mIoU, two/sem_seg/mIoU"):
        metric_of(results, "sem_seg/mIoU")


def test_an_evaluation_of_the_best_weights_has_the_recorded_value(tmp_path, mini_shapes):
    train(config(tmp_path, "SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "0"))
    record = json.loads((tmp_path / "output" / "best_checkpoint.json").read_text())
    cfg = config(tmp_path, "MODEL.WEIGHTS", str(tmp_path / "output" / "model_best.pth"))
    assert Trainer.evaluate_weights(cfg)["proposals"]["AR@100"] == record["value"] == best(tmp_path)["value"]
