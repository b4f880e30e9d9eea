"""MaskDistiller: a student proposer learns base masks and what a frozen teacher finds beside them (MasQCLIP, stage 1).

One round of Progressive Distillation, stage `student`; for another round the student becomes the teacher of a new run.
Input and output as in `proposal_network`; at test it is a `MaskProposer`, and only the student is saved, under its
names.
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
        make_teacher: gives the teacher, of the same architecture, with its weights; called when training begins. The
            teacher is not part of the state dict.
        rules: when a teacher's mask becomes a pseudo mask.
        picture_period: iterations between pictures of pseudo masks for TensorBoard; 0: none.
        student: arguments of `MaskProposer`.
    """

    @configurable
    def __init__(
        self, *, make_teacher: Callable[[], MaskProposer], rules: PseudoMaskRules, picture_period: int, **student
    ) -> None:
        super().__init__(**student)
        self._make_teacher = make_teacher
        self._teacher: list[MaskProposer] = []  # in a list, so that it is neither trained nor saved
        self.rules = rules
        self.picture_period = picture_period

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {
            **super().from_config(cfg),
            "make_teacher": partial(load_teacher, cfg),  # a partial of a module's function can be pickled
            "rules": PseudoMaskRules.from_config(cfg),
            "picture_period": cfg.VIS_PERIOD,
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
        """The records with pseudo masks behind their base masks in `instances`."""
        if not self._teacher:
            self._teacher.append(self._make_teacher().to(self.pixel_mean.device).requires_grad_(False).eval())
        teacher = self._teacher[0]
        images = [{"image": record["image"]} for record in batched_inputs]  # masks in the frame of the image
        found = [answer["proposals"] for answer in teacher(images)]
        extended, counts = [], []
        for record, proposals in zip(batched_inputs, found, strict=True):
            base = annotated_masks(record["instances"], record["image"].shape[-2:]).to(proposals.pred_masks.device)
            choice = choose_pseudo_masks(base, proposals.pred_masks, proposals.scores, self.rules)
            pseudo = proposals.pred_masks[choice.kept]
            counts.append(len(pseudo))
            masks = torch.cat([base, pseudo])
            extended.append({**record, "instances": Instances(masks.shape[-2:], gt_masks=BitMasks(masks))})
        self._report(extended[0], counts)
        return extended

    def _report(self, first: dict, counts: list[int]) -> None:
        if not has_event_storage():
            return
        storage = get_event_storage()
        storage.put_scalar("pseudo_masks_per_image", sum(counts) / len(counts))
        if self.picture_period and storage.iter % self.picture_period == 0:
            storage.put_image("base masks (lightened) and pseudo masks (coloured)", _picture(first, counts[0]))


def load_teacher(cfg) -> MaskProposer:
    weights = cfg.MODEL.MASQCLIP.DISTILLATION.TEACHER or cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError(
            "Progressive Distillation needs a trained teacher: give its weights by MODEL.WEIGHTS (the student starts "
            "from them) or MODEL.MASQCLIP.DISTILLATION.TEACHER."
        )
    teacher = MaskProposer(cfg)
    StrictCheckpointer(teacher).load(weights)
    return teacher


def _picture(record: dict, num_pseudo: int) -> Tensor:
    """(3, H, W) uint8: the image, base masks lightened and pseudo masks tinted with one colour each."""
    picture = record["image"].float().cpu()
    masks = record["instances"].gt_masks.tensor.cpu()
    num_base = len(masks) - num_pseudo
    for mask in masks[:num_base]:
        picture[:, mask] = picture[:, mask] * 0.5 + 127.0
    colours = torch.randint(0, 256, (num_pseudo, 3, 1), generator=torch.Generator().manual_seed(0)).float()
    for mask, colour in zip(masks[num_base:], colours, strict=True):
        picture[:, mask] = picture[:, mask] * 0.4 + colour * 0.6
    return picture.clamp(0, 255).to(torch.uint8)
