"""ExactResume: the hook with which a resumed training continues as if it had never been interrupted.

The randomness of a step depends on (seed, process, iteration), the data of a step on (seed, number of the batch), see
`data.training_loader`. A checkpoint holds the seed and the number of images; weights, optimizer, gradient scaler and
schedule are part of Detectron2's checkpoints.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from ..config import flat_items
from ..data.random_states import seed_all
from ..data.training_loader import TrainingLoader

_STEP = 2  # use of the seed, apart from those of `data.training_loader`
_MAX_LISTED = 8  # changes in a message
# Keys that the weights of a resumed training do not depend on, beside those of tests.
_WITHOUT_EFFECT = {
    "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS", "MODEL.WEIGHTS", "OUTPUT_DIR", "SOLVER.CHECKPOINT_PERIOD", "VERSION",
    "VIS_PERIOD",
}  # fmt: skip
# Keys whose values the state of an optimizer has, which a checkpoint restores.
_OF_OPTIMIZER = (
    "BACKBONE_MULTIPLIER", "BASE_LR", "BIAS_LR_FACTOR", "MOMENTUM", "MUON_MULTIPLIER", "NESTEROV", "WEIGHT_DECAY",
    "WEIGHT_DECAY_BIAS", "WEIGHT_DECAY_EMBED", "WEIGHT_DECAY_NORM",
)  # fmt: skip

logger = logging.getLogger(__name__)


class ExactResume(HookBase):
    """Seeds each step, and continues the stream of training data where the checkpoint was written.

    Must be the first hook, in all processes.
    """

    def __init__(self, cfg) -> None:
        self._images_per_step = cfg.SOLVER.IMS_PER_BATCH
        # What the bits of the weights depend on: a resumed run with other values is not exact.
        self._conditions = {
            "number of processes": comm.get_world_size(),
            "number of threads": torch.get_num_threads(),
            "version of PyTorch": str(torch.__version__),
            **{key: _plain(value) for key, value in sorted(flat_items(cfg)) if _has_effect(key)},
        }
        self._num_workers = cfg.DATALOADER.NUM_WORKERS
        self._seed: int | None = None
        self._images_before = 0  # that were trained on before this run
        self._loaded: dict[str, Any] | None = None

    def before_train(self) -> None:
        loader = self.trainer.data_loader
        resumes = self.trainer.start_iter > 0
        if resumes and self._loaded is not None:
            self._seed, self._images_before = self._loaded["seed"], self._loaded["images"]
            self._report_changes(self._loaded)
        else:
            self._seed = loader.seed if isinstance(loader, TrainingLoader) else comm.shared_random_seed()
            self._images_before = self.trainer.start_iter * self._images_per_step
            if resumes:
                logger.warning(
                    "The checkpoint has no random states (an older version wrote it): the resumed run is not exactly "
                    "the one that was interrupted."
                )
        if isinstance(loader, TrainingLoader):
            assert self._seed is not None
            loader.start_at(self._images_before // self._images_per_step, self._seed)
        elif resumes:
            logger.warning(
                "The data loader is a %s, whose position is unknown: the resumed run gets other images than the one "
                "that was interrupted.",
                type(loader).__name__,
            )

    def before_step(self) -> None:
        assert self._seed is not None
        seed_all(self._seed, comm.get_rank(), self.trainer.iter, _STEP)

    def state_dict(self) -> dict[str, Any]:
        """Seed, images up to the current step, and the conditions of an exact continuation."""
        if self._seed is None:  # before the first step
            return self._loaded or {}
        steps = self.trainer.iter + 1 - self.trainer.start_iter
        return {
            "seed": self._seed,
            "images": self._images_before + steps * self._images_per_step,
            "conditions": self._conditions,
            "num_workers": self._num_workers,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._loaded = state

    def _report_changes(self, state: dict[str, Any]) -> None:
        before: Mapping[str, Any] = state["conditions"]  # of an older version: without some keys
        changed = [name for name, value in self._conditions.items() if name in before and before[name] != value]
        if changed:
            listed = [f"{name}: {before[name]} -> {self._conditions[name]}" for name in changed[:_MAX_LISTED]]
            more = f" and {len(changed) - _MAX_LISTED} more keys" if len(changed) > _MAX_LISTED else ""
            kept = [name for name in changed if name in {f"SOLVER.{key}" for key in _OF_OPTIMIZER}]
            logger.warning(
                "The resumed run is not exactly the one that was interrupted, since this changed: %s%s.%s",
                ", ".join(listed),
                more,
                f" {', '.join(kept)}: the values of the checkpoint stay in use." if kept else "",
            )
        if state["num_workers"] != self._num_workers:
            logger.info(
                "DATALOADER.NUM_WORKERS changed from %d to %d; training data do not depend on it.",
                state["num_workers"],
                self._num_workers,
            )


def _has_effect(key: str) -> bool:
    """Whether the weights of a training depend on a key of the configuration."""
    *sections, name = key.split(".")
    return key not in _WITHOUT_EFFECT and "TEST" not in (*sections, name) and not name.endswith("_TEST")


def _plain(value: Any) -> Any:
    """A value as it is in a checkpoint, which has no lists of configurations."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)
