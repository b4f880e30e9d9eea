"""Mixed precision with the forward pass in bfloat16, which has the range of float32: the loss needs no scaling."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from torch import nn


class Bfloat16Trainer(SimpleTrainer):
    """`SimpleTrainer` that calls the model under autocast; backward pass and optimizer are as usual."""

    def run_step(self) -> None:
        model = self.model
        self.model = _Autocast(model)
        try:
            super().run_step()
        finally:
            self.model = model


class _Autocast:
    """A model that is called under autocast."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._device_type = next(model.parameters()).device.type
        self.training = model.training

    def __call__(self, batch: Any) -> Any:
        with torch.autocast(self._device_type, dtype=torch.bfloat16):
            return self._model(batch)
