"""MaskProposer: the class-agnostic proposer as a model of its own (stage `teacher`, and the recall of proposals).

Input, a list with one dict per image:
    image           (3, H, W) uint8 or float RGB, 0..255
    instances       in training: Instances with `gt_masks` (BitMasks or (N, H, W) bool); classes are ignored
    height, width   size of the answer in pixels; default: of the image
Output: in training a dict of losses; else one dict per image:
    proposals       Instances of size (height, width), best first: pred_masks (N, height, width) bool and scores (N,) in
                    [0, 1], the object score times the mean mask probability inside the mask
"""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import Tensor, nn

from ..fusion import instance_inference, masks_to_output
from ..proposer import MaskFormerProposer, SetCriterion
from ..structures import MaskProposals, annotated_masks, padded_masks
from .out_of_memory import in_smaller_pieces


@META_ARCH_REGISTRY.register()
class MaskProposer(MaskFormerProposer):
    """Class-agnostic Mask2Former with its losses (MaskCLIP, Sec. 3.1; MasQCLIP, stage 1).

    Args:
        criterion: `SetCriterion` with one class, "object".
        topk: proposals per image at test.
        proposer: arguments of `MaskFormerProposer`.
    """

    @configurable
    def __init__(self, *, criterion: nn.Module, topk: int, **proposer) -> None:
        super().__init__(**proposer)
        self.criterion = criterion
        self.topk = topk

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {
            **super().from_config(cfg),
            "criterion": SetCriterion(cfg, num_classes=1),
            "topk": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """See the module docstring."""
        if not self.training:
            return self._inference(batched_inputs)
        images = self.preprocess([record["image"] for record in batched_inputs])
        targets = [self._target(record["instances"], images.shape[-2:]) for record in batched_inputs]
        return self.criterion(super().forward(images), targets)

    def _inference(self, batched_inputs: list[dict]) -> list[dict]:
        height, width = (max(record["image"].shape[axis] for record in batched_inputs) for axis in (-2, -1))
        found = in_smaller_pieces(self.propose, batched_inputs, f"images of up to {height} x {width} pixels")
        return [
            {"proposals": self._ranked(record, proposals)}
            for record, proposals in zip(batched_inputs, found, strict=True)
        ]

    def _ranked(self, record: dict, proposals: MaskProposals) -> Instances:
        hw = (record.get("height", record["image"].shape[-2]), record.get("width", record["image"].shape[-1]))
        mask_logits = masks_to_output(proposals.mask_logits, proposals.padded_hw, proposals.image_hw, hw)
        ranked = instance_inference(proposals.object_scores[:, None], mask_logits, topk=self.topk)
        return Instances(hw, pred_masks=ranked.masks, scores=ranked.scores)

    def _target(self, instances: Instances, padded_hw: tuple[int, int]) -> dict[str, Tensor]:
        """One image's masks at padded size, all of class 0; an image without objects has none."""
        masks = annotated_masks(instances, padded_hw).to(self.pixel_mean.device)
        labels = torch.zeros(len(masks), dtype=torch.int64, device=masks.device)
        return {"labels": labels, "masks": padded_masks(masks, padded_hw)}
