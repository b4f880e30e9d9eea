"""The hooks for Weights & Biases and MLflow, with the packages' offline modes."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage

from masqclip_d2.engine.hook_registry import build_registered_hooks
from masqclip_d2.engine.run_loggers import WandbLogger, _RunLogger
from masqclip_d2.engine.trainer import Trainer
from tests.helpers import tiny_config


def config(folder, hook="WandbLogger", *opts):
    return tiny_config(
        folder, "MaskProposer", "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0",
        "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "()", "HOOKS", f"['{hook}']", *opts,
    )  # fmt: skip


class Recorder(_RunLogger):
    """A service in memory."""

    def __init__(self, cfg, broken=False):
        super().__init__(cfg)
        self.starts, self.sent, self.completed, self.broken = [], [], [], broken

    def start(self, run_id):
        self.starts.append(run_id)
        return run_id or "run-7"

    def log(self, scalars, iteration):
        if self.broken:
            raise OSError("no network")
        self.sent.append((iteration, scalars))

    def finish(self, completed):
        self.completed.append(completed)


def train(hook, first, last, stop=None):
    """Iterations `first` to `last` of a training that puts a loss; `stop`: the iteration that fails."""
    with EventStorage(first) as storage:
        hook.trainer = SimpleNamespace(storage=storage, iter=first, start_iter=first, max_iter=last)
        hook.before_train()
        for iteration in range(first, last):
            hook.trainer.iter = storage.iter = iteration
            if iteration == stop:
                break
            storage.put_scalars(loss=float(iteration), nothing=math.nan)
            hook.after_step()
        else:
            hook.trainer.iter = last
        hook.after_train()


def test_scalars_are_sent_every_20_iterations_and_at_the_end(tmp_path):
    hook = Recorder(config(tmp_path))
    train(hook, 0, 45)
    assert [iteration for iteration, _ in hook.sent] == [19, 39, 44]
    assert all(set(scalars) == {"loss"} for _, scalars in hook.sent)  # nan is left out
    assert hook.starts == [None] and hook.completed == [True]


def test_a_resumed_training_goes_on_in_its_run_and_a_new_one_starts_another(tmp_path):
    train(Recorder(config(tmp_path)), 0, 45, stop=30)
    resumed, new = Recorder(config(tmp_path)), Recorder(config(tmp_path))
    train(resumed, 20, 45)
    train(new, 0, 45)
    assert resumed.starts == ["run-7"] and new.starts == [None]


def test_a_training_that_fails_is_reported_as_such(tmp_path):
    hook = Recorder(config(tmp_path))
    train(hook, 0, 45, stop=30)
    assert [iteration for iteration, _ in hook.sent] == [19, 29] and hook.completed == [False]


def test_a_service_that_fails_is_named_once_and_the_training_goes_on(tmp_path, caplog):
    hook = Recorder(config(tmp_path), broken=True)
    train(hook, 0, 45)
    assert caplog.text.count("Recorder: the service failed, the training goes on without it: no network") == 1
    assert hook.completed == [True]


def test_a_run_that_cannot_be_started_ends_the_training(tmp_path, monkeypatch):
    hook = Recorder(config(tmp_path))

    def refuse(run_id):
        raise RuntimeError("no API key")

    monkeypatch.setattr(hook, "start", refuse)
    with pytest.raises(ValueError, match="Recorder: no run could be started: no API key"):
        train(hook, 0, 45)


def test_a_missing_package_is_named_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"WandbLogger needs the package wandb: pip install 'masqclip_d2\[wandb\]'"):
        build_registered_hooks(config(tmp_path))


def test_weights_and_biases_offline(tmp_path, monkeypatch, mini_shapes):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    cfg = config(tmp_path)
    Trainer(cfg).train()
    output = Path(cfg.OUTPUT_DIR)
    (file,) = output.glob("wandb/offline-run-*/run-*.wandb")
    content = file.read_bytes()
    run_id = (output / "WandbLogger.run").read_text().strip()
    assert run_id in file.name
    for expected in (b"total_loss", b"iteration", b"BASE_LR", b"masqclip"):
        assert expected in content


def test_mlflow_in_a_folder(tmp_path, monkeypatch, mini_shapes):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    try:
        cfg = config(tmp_path, "MLflowLogger")
        Trainer(cfg).train()
        output = Path(cfg.OUTPUT_DIR)
        run_id = (output / "MLflowLogger.run").read_text().strip()
        run = mlflow.get_run(run_id)
    finally:
        mlflow.set_tracking_uri(None)
    assert run.info.status == "FINISHED" and run.data.params["SOLVER.MAX_ITER"] == "2"
    assert run.data.metrics["total_loss"] > 0
    metrics = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert run.data.metrics["total_loss"] == pytest.approx(metrics[-1]["total_loss"])


def test_names_that_mlflow_refuses_are_changed(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    from masqclip_d2.engine.run_loggers import MLflowLogger

    sent = []
    monkeypatch.setattr(mlflow, "log_metrics", lambda metrics, step: sent.append((metrics, step)))
    MLflowLogger(config(tmp_path)).log({"proposals/AR@100": 41.0}, 7)
    assert sent == [({"proposals/AR_at_100": 41.0}, 7)]


def test_the_registered_hook_is_built(tmp_path):
    pytest.importorskip("wandb")
    (hook,) = build_registered_hooks(config(tmp_path))
    assert isinstance(hook, WandbLogger)
