"""Class-agnostic Mask R-CNN as a trainable model; input and output as in `proposal_network`."""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from ..fusion import boxes_from_masks
from ..proposer import MaskRcnnProposer
from .proposal_network import ProposalNetwork


@META_ARCH_REGISTRY.register()
class MaskRcnnProposalNetwork(ProposalNetwork, MaskRcnnProposer):
    """Class-agnostic Mask R-CNN with its losses: "the classification head thus becomes a binary classification for
    either positive or negative" (MaskCLIP, Sec. 3.1).

    Args:
        topk: see `ProposalNetwork`.
        proposer: arguments of `MaskRcnnProposer`.
    """

    @configurable
    def __init__(self, *, topk: int, **proposer) -> None:
        super().__init__(topk=topk, **proposer)

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {**super().from_config(cfg), "topk": cfg.TEST.DETECTIONS_PER_IMAGE}

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """torchvision's: loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg, loss_mask."""
        from torchvision.models.detection.image_list import ImageList

        batch = self.preprocess([record["image"] for record in batched_inputs])
        image_hw = [tuple(record["image"].shape[-2:]) for record in batched_inputs]
        targets = [self._target(record) for record in batched_inputs]
        features = self.features(batch)
        with torch.autocast(batch.device.type, enabled=False):
            regions, region_losses = self.rpn(ImageList(batch, image_hw), features, targets)
            # In training the heads take the image sizes for nothing but the scale of the features.
            _, head_losses = self.roi_heads(features, regions, [tuple(batch.shape[-2:])] * len(targets), targets)
        return {**region_losses, **head_losses}

    def _target(self, record: dict) -> dict[str, Tensor]:
        """One image's objects, all of label 1; a mask without a pixel has no box and is left out."""
        masks = self.target_masks(record)
        masks = masks[masks.flatten(1).any(dim=1)]
        labels = torch.ones(len(masks), dtype=torch.int64, device=masks.device)
        return {"boxes": boxes_from_masks(masks), "labels": labels, "masks": masks.to(torch.uint8)}
