"""Hooks that send a training to Weights & Biases or MLflow: its configuration, and the scalars of TensorBoard.

Servers, projects and offline modes are set as the packages document it, by environment variables. Default project
(experiment): masqclip; name of the run: OUTPUT_DIR. A training that is resumed goes on in the same run.
"""

from __future__ import annotations

import logging
import math
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from ..config import flat_items
from ..files import save_text
from ..optional_packages import optional_package, require_packages
from .hook_registry import HOOK_REGISTRY

_PERIOD = 20  # iterations between two reports, and the window of smoothed scalars, as in Detectron2's writers
_PROJECT = "masqclip"
_MAX_PARAMETERS = 100  # of one request to MLflow
_MAX_PARAMETER_LENGTH = 500

logger = logging.getLogger(__name__)


class _RunLogger(HookBase, ABC):
    """Reports to one run of a service; only on the first process.

    A service that fails after the start is reported once and does not end the training.
    """

    def __init__(self, cfg) -> None:
        self._cfg = cfg
        self._reported = -1  # last iteration whose scalars are sent
        self._failed = False

    @property
    def _id_file(self) -> Path:
        return Path(self._cfg.OUTPUT_DIR) / f"{type(self).__name__}.run"

    def before_train(self) -> None:
        if not comm.is_main_process():
            return
        self._reported = self.trainer.start_iter - 1
        known = self.trainer.start_iter > 0 and self._id_file.is_file()
        run_id = self._id_file.read_text(encoding="utf-8").strip() if known else None
        try:
            run_id = self.start(run_id)
        except Exception as error:  # whatever a service raises
            raise ValueError(f"{type(self).__name__}: no run could be started: {error}") from error
        save_text(self._id_file, run_id + "\n")

    def after_step(self) -> None:
        if comm.is_main_process() and (self.trainer.iter + 1) % _PERIOD == 0:
            self._report()

    def after_train(self) -> None:
        """Send the rest; called by Detectron2 after a training that failed too."""
        if comm.is_main_process():
            self._report()
            self._attempt(self.finish, self.trainer.iter >= self.trainer.max_iter)

    def _report(self) -> None:
        by_iteration: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in self.trainer.storage.latest_with_smoothing_hint(_PERIOD).items():
            if iteration > self._reported and math.isfinite(value):
                by_iteration.setdefault(iteration, {})[name] = float(value)
        for iteration, scalars in sorted(by_iteration.items()):
            self._attempt(self.log, scalars, iteration)
            self._reported = iteration

    def _attempt(self, send, *arguments: Any) -> None:
        try:
            send(*arguments)
        except Exception as error:  # whatever a service raises
            if not self._failed:
                self._failed = True
                logger.warning(
                    "%s: the service failed, the training goes on without it: %s", type(self).__name__, error
                )

    @abstractmethod
    def start(self, run_id: str | None) -> str:
        """Start a run, or go on with that of `run_id`; returns its id."""

    @abstractmethod
    def log(self, scalars: dict[str, float], iteration: int) -> None:
        """Send the finite scalars of an iteration."""

    @abstractmethod
    def finish(self, completed: bool) -> None:
        """End the run; `completed`: all iterations were done."""


@HOOK_REGISTRY.register()
class WandbLogger(_RunLogger):
    """Weights & Biases (extra `wandb`). WANDB_PROJECT, WANDB_MODE=offline and other variables of the package apply."""

    def __init__(self, cfg) -> None:
        super().__init__(cfg)
        require_packages("The hook WandbLogger", "wandb", "wandb")

    def start(self, run_id: str | None) -> str:
        import yaml

        self._run = optional_package("wandb").init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=self._cfg.OUTPUT_DIR,
            dir=self._cfg.OUTPUT_DIR,
            config=yaml.safe_load(self._cfg.dump()),
            id=run_id,
            resume="allow" if run_id else None,
        )
        # A resumed training repeats iterations, which the steps of Weights & Biases must not.
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")
        return self._run.id

    def log(self, scalars: dict[str, float], iteration: int) -> None:
        self._run.log({**scalars, "iteration": iteration})

    def finish(self, completed: bool) -> None:
        self._run.finish(exit_code=0 if completed else 1)


@HOOK_REGISTRY.register()
class MLflowLogger(_RunLogger):
    """MLflow (extra `mlflow`). MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and other variables of the package apply.

    Names of metrics have "_at_" in place of "@", which MLflow does not allow: "proposals/AR_at_100".
    """

    def __init__(self, cfg) -> None:
        super().__init__(cfg)
        require_packages("The hook MLflowLogger", "mlflow", "mlflow")

    def start(self, run_id: str | None) -> str:
        mlflow = optional_package("mlflow")
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT))
        run = mlflow.start_run(run_id=run_id, run_name=None if run_id else self._cfg.OUTPUT_DIR)
        if run_id is None:  # parameters of a run cannot change
            parameters = [(key, str(value)[:_MAX_PARAMETER_LENGTH]) for key, value in flat_items(self._cfg)]
            for first in range(0, len(parameters), _MAX_PARAMETERS):
                mlflow.log_params(dict(parameters[first : first + _MAX_PARAMETERS]))
        mlflow.log_text(self._cfg.dump(), "config.yaml")
        return run.info.run_id

    def log(self, scalars: dict[str, float], iteration: int) -> None:
        mlflow = optional_package("mlflow")
        mlflow.log_metrics({name.replace("@", "_at_"): value for name, value in scalars.items()}, step=iteration)

    def finish(self, completed: bool) -> None:
        optional_package("mlflow").end_run("FINISHED" if completed else "FAILED")
