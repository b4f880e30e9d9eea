"""Class-agnostic Mask2Former as a trainable model; input and output as in `proposal_network`."""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from ..losses.criterion import SetCriterion
from ..proposer import Mask2FormerProposer
from ..structures import padded_masks
from .proposal_network import ProposalNetwork


@META_ARCH_REGISTRY.register()
class MaskProposer(ProposalNetwork, Mask2FormerProposer):
    """Class-agnostic Mask2Former with its losses (MaskCLIP, Sec. 3.1; MasQCLIP, stage 1).

    Args:
        criterion: `SetCriterion` with one class, "object".
        topk: see `ProposalNetwork`.
        proposer: arguments of `Mask2FormerProposer`.
    """

    @configurable
    def __init__(self, *, criterion: nn.Module, topk: int, **proposer) -> None:
        super().__init__(topk=topk, **proposer)
        self.criterion = criterion

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {
            **super().from_config(cfg),
            "criterion": SetCriterion(cfg, num_classes=1),
            "topk": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Losses of `SetCriterion` with class 0 for every object; an image without objects has no targets."""
        images = self.preprocess([record["image"] for record in batched_inputs])
        masks = [padded_masks(self.target_masks(record), images.shape[-2:]) for record in batched_inputs]
        targets = [
            {"labels": torch.zeros(len(of_image), dtype=torch.int64, device=of_image.device), "masks": of_image}
            for of_image in masks
        ]
        return self.criterion(Mask2FormerProposer.forward(self, images), targets)
