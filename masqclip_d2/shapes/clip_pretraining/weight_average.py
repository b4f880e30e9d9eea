"""WeightAverageUpdate: the hook that keeps a running average of the trained CLIP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectron2.engine import HookBase

if TYPE_CHECKING:
    from .model import ClipPretraining

_WARMUP = 10  # steps


class WeightAverageUpdate(HookBase):
    """After each step moves the average a little towards the weights: by 1 - decay, by more in the first steps."""

    def __init__(self, model: ClipPretraining, decay: float) -> None:
        self._model = model
        self._decay = decay

    def after_step(self) -> None:
        step = self.trainer.iter + 1
        self._model.update_average(min(self._decay, step / (step + _WARMUP)))
