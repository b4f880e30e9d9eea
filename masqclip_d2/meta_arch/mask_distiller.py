"""MaskDistiller: a student proposer learns base masks and a frozen teacher's further masks (MasQCLIP, stage 1).

One round of Progressive Distillation, stage `student`; in the next round the student is the teacher of a new run.
Input and output as in `proposal_network`. In evaluation it is a `MaskProposer`; only the student is saved, with the
parameter names of a `MaskProposer`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import BitMasks, Instances
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor

from ..checkpoint import StrictCheckpointer
from ..losses.pseudo_masks import PseudoMaskRules, choose_pseudo_masks
from ..structures import annotated_masks
from .mask_proposer import MaskProposer


@META_ARCH_REGISTRY.register()
class MaskDistiller(MaskProposer):
    """A student with its frozen teacher.

    Args:
        make_teacher: returns the teacher, of the same architecture, with its weights; called in the first training
            step. The teacher is not part of the state dict.
        rules: which of the teacher's masks become pseudo masks.
        visualization_period: iterations between images of pseudo masks for TensorBoard; 0: none.
        student: arguments of `MaskProposer`.
    """

    @configurable
    def __init__(
        self,
        *,
        make_teacher: Callable[[], MaskProposer],
        rules: PseudoMaskRules,
        visualization_period: int,
        **student,
    ) -> None:
        super().__init__(**student)
        self._make_teacher = make_teacher
        self._teacher: list[MaskProposer] = []  # in a list, so that it is neither trained nor saved
        self.rules = rules
        self.visualization_period = visualization_period

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {
            **super().from_config(cfg),
            "make_teacher": partial(load_teacher, cfg),  # unlike a lambda, can be pickled
            "rules": PseudoMaskRules.from_config(cfg),
            "visualization_period": cfg.VIS_PERIOD,
        }

    @classmethod
    def num_rounds(cls, cfg) -> int:
        """Rounds of distillation; the student of each is the teacher of the next."""
        return cfg.MODEL.MASQCLIP.DISTILLATION.ROUNDS

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """See the module docstring."""
        return super().forward(self.with_pseudo_masks(batched_inputs) if self.training else batched_inputs)

    @torch.no_grad()
    def with_pseudo_masks(self, batched_inputs: list[dict]) -> list[dict]:
        """Copies of the records whose `instances` have the pseudo masks appended to their base masks."""
        if not self._teacher:
            with torch.random.fork_rng(devices=[]):  # initial values, also of a resumed run, cost no random numbers
                self._teacher.append(self._make_teacher().to(self.device).requires_grad_(False).eval())
        teacher = self._teacher[0]
        images = [
            {"image": record["image"]} for record in batched_inputs
        ]  # without height and width: masks at its size
        found = [prediction["proposals"] for prediction in teacher(images)]
        extended, counts = [], []
        for record, proposals in zip(batched_inputs, found, strict=True):
            base = annotated_masks(record["instances"], record["image"].shape[-2:]).to(proposals.pred_masks.device)
            choice = choose_pseudo_masks(base, proposals.pred_masks, proposals.scores, self.rules)
            pseudo = proposals.pred_masks[choice.kept]
            counts.append(len(pseudo))
            masks = torch.cat([base, pseudo])
            height, width = masks.shape[-2:]
            extended.append({**record, "instances": Instances((height, width), gt_masks=BitMasks(masks))})
        self._report(extended[0], counts)
        return extended

    def _report(self, first: dict, counts: list[int]) -> None:
        if not has_event_storage():
            return
        storage = get_event_storage()
        storage.put_scalar("pseudo_masks_per_image", sum(counts) / len(counts))
        if self.visualization_period and storage.iter % self.visualization_period == 0:
            storage.put_image("base masks (lightened) and pseudo masks (colored)", _draw(first, counts[0]))


def load_teacher(cfg) -> MaskProposer:
    """The teacher that the configuration names, with its weights; ValueError if it names none."""
    weights = cfg.MODEL.MASQCLIP.DISTILLATION.TEACHER or cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError(
            "Progressive Distillation needs a trained teacher: set MODEL.WEIGHTS (the student starts from these "
            "weights) or MODEL.MASQCLIP.DISTILLATION.TEACHER."
        )
    teacher = MaskProposer(cfg)
    StrictCheckpointer(teacher).load(weights)
    return teacher


def _draw(record: dict, num_pseudo: int) -> Tensor:
    """(3, H, W) uint8: the image, base masks lightened and pseudo masks tinted with one color each."""
    drawing = record["image"].float().cpu()
    masks = record["instances"].gt_masks.tensor.cpu()
    num_base = len(masks) - num_pseudo
    for mask in masks[:num_base]:
        drawing[:, mask] = drawing[:, mask] * 0.5 + 127.0
    colors = torch.randint(0, 256, (num_pseudo, 3, 1), generator=torch.Generator().manual_seed(0)).float()
    for mask, color in zip(masks[num_base:], colors, strict=True):
        drawing[:, mask] = drawing[:, mask] * 0.4 + color * 0.6
    return drawing.clamp(0, 255).to(torch.uint8)
