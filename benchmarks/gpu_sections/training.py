"""Section 5: one training step of each stage: losses, gradients, optimizer.

Images per step: those of one of 8 GPUs in the published schedules. bf16 is autocast; the optimizer's values stay
float32. The loss is that of the first step, which starts from the same weights and random numbers in every row.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances
from torch import Tensor, nn

from masqclip_d2.engine.optimizer import build_optimizer

from .models import ops_implementation
from .random_models import RandomModels, vocabulary
from .report import Report
from .settings import Settings

TITLE = "Training: one step of each stage"
COLUMNS = {"ms/step": "{:.1f}", "images/s": "{:.2f}", "MB": "{:.0f}", "loss": "{:.4g}"}
# Stage -> key of `random_models.CONFIGS`, images.
STAGES = {"teacher": ("teacher", 2), "student": ("student", 2), "rma": ("MaskCLIP", 1), "masq_tuning": ("MasQCLIP", 1)}
_CATEGORIES = 133  # of COCO panoptic
_OBJECTS = 10  # per image


def measure(report: Report, settings: Settings) -> None:
    """Rows of each stage, bf16 first; the tiny form has bf16 in the last stage only."""
    models = RandomModels(settings)
    *_, last = STAGES
    for stage in STAGES:
        step = _Step(models, stage)
        for low in (False,) if settings.tiny and stage != last else (True, False):
            for kernels in (True, False):
                name = f"{stage}, {'bf16' if low else 'fp32'}, {'kernels' if kernels else 'plain torch'}"
                report.row(name, partial(step.measure, low, kernels))
        step.release()


class _Step:
    """A model of a stage with its optimizer and a batch; built for the first row."""

    def __init__(self, models: RandomModels, stage: str) -> None:
        self._models, self._stage = models, stage
        self._model: Any = None

    def measure(self, low: bool, kernels: bool) -> dict:
        """Time, memory and loss of a step."""
        settings = self._models.settings
        if kernels:
            settings.require_kernels()
        if self._model is None:
            self._build()
        with torch.no_grad():
            for parameter, values in zip(self._trained(), self._initial, strict=True):
                parameter.copy_(values)
        torch.manual_seed(0)
        self._losses: list[Tensor] = []
        with ops_implementation(settings, kernels):
            seconds, memory = settings.time(partial(self._run, low), longest=1.5, flushed=False)
        values = {"ms/step": seconds * 1e3, "images/s": len(self._records) / seconds, "MB": memory / 1e6}
        values["loss"] = loss = self._losses[0].item()
        return values if math.isfinite(loss) else {**values, "failure": "the loss is not finite"}

    def release(self) -> None:
        self._model = None
        self._models.settings.release()

    def _build(self) -> None:
        torch.manual_seed(0)
        name, images = STAGES[self._stage]
        options = {}
        if self._stage == "student":
            path = self._models.folder / "teacher.pth"
            torch.save({"model": build_model(self._models.config("teacher")).state_dict()}, path)
            options["MODEL.MASQCLIP.DISTILLATION.TEACHER"] = path
        cfg = self._models.config(name, **options)
        model: Any = build_model(cfg).train()
        if hasattr(model, "set_vocabulary"):
            model.set_vocabulary(vocabulary(_CATEGORIES))
        self._optimizer = build_optimizer(cfg, model)
        self._records = [self._record(index) for index in range(1 if self._models.settings.tiny else images)]
        self._model = model
        self._initial = [parameter.detach().clone() for parameter in self._trained()]

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self._model.parameters() if parameter.requires_grad]

    def _run(self, low: bool) -> None:
        device = self._models.settings.device.type
        with torch.autocast(device, torch.bfloat16, enabled=low):
            loss = torch.stack(list(self._model(self._records).values())).sum()
        loss.backward()
        self._losses.append(loss.detach())
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _record(self, seed: int) -> dict:
        """An image with rectangles as objects."""
        side, generator = self._models.side, torch.Generator().manual_seed(seed)
        image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=generator)
        masks = torch.zeros(_OBJECTS, side, side, dtype=torch.bool)
        for mask in masks:
            top, left, height, width = torch.randint(side // 8, side // 2, (4,), generator=generator).tolist()
            mask[top : top + height, left : left + width] = True
        classes = torch.randint(0, _CATEGORIES, (_OBJECTS,), generator=generator)
        return {
            "image": image, "height": side, "width": side,
            "instances": Instances((side, side), gt_masks=BitMasks(masks), gt_classes=classes),
        }  # fmt: skip
