"""Base of the trainable proposers (stage `teacher`, and evaluation of their recall).

Input, a list with one dict per image:
    image           (3, H, W) uint8 or float RGB, 0..255
    instances       in training: Instances with `gt_masks` (BitMasks or (N, H, W) bool); classes are ignored
    height, width   size of the proposals in pixels; default: of the image
Output: in training a dict of losses; else one dict per image:
    proposals       Instances of size (height, width), best first: pred_masks (N, height, width) bool and scores (N,) in
                    [0, 1], the object score times the mean mask probability inside the mask
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from detectron2.structures import Instances
from torch import Tensor

from ..fusion import OutputMasks, instance_inference
from ..precision import autocast_to
from ..proposer import Proposer
from ..structures import MaskProposals, annotated_masks
from .out_of_memory import in_smaller_pieces


class ProposalNetwork(Proposer):
    """Mixin that makes a `NetworkProposer` a trainable model; the first base of a subclass, the proposer the second.

    Args:
        topk: proposals per image in evaluation.
        proposer: arguments of the proposer.
    """

    inference_dtype = torch.float32  # of the network, see the package `acceleration`
    predicts_proposals = True  # and no categories: evaluated by the recall of proposals
    unused_settings = ("MODEL.MASQCLIP.CLIP.",)  # of earlier stages

    def __init__(self, *, topk: int, **proposer) -> None:
        super().__init__(**proposer)
        self.topk = topk

    @classmethod
    def evaluation_tasks(cls, cfg) -> tuple[str, ...]:
        """Tasks that a model of this configuration is evaluated on."""
        return ("proposals",)

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """See the module docstring."""
        return self.losses(batched_inputs) if self.training else self._inference(batched_inputs)

    @abstractmethod
    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Losses of a batch; training minimizes their sum."""

    def target_masks(self, record: dict) -> Tensor:
        """Annotated masks (N, H, W) bool of an image of the batch, on the device of the model; N may be 0.

        Raises:
            ValueError: the image has no annotation.
        """
        if "instances" not in record:
            raise ValueError(f"Training needs the annotation of {record.get('file_name', 'the image')}.")
        return annotated_masks(record["instances"], record["image"].shape[-2:]).to(self.device)

    def _inference(self, batched_inputs: list[dict]) -> list[dict]:
        height, width = (max(record["image"].shape[axis] for record in batched_inputs) for axis in (-2, -1))
        with autocast_to(self.inference_dtype, self.device):
            found = in_smaller_pieces(self.propose, batched_inputs, f"images of up to {height} x {width} pixels")
        return [
            {"proposals": self._ranked(record, proposals)}
            for record, proposals in zip(batched_inputs, found, strict=True)
        ]

    def _ranked(self, record: dict, proposals: MaskProposals) -> Instances:
        hw = (record.get("height", record["image"].shape[-2]), record.get("width", record["image"].shape[-1]))
        masks = OutputMasks(proposals.mask_logits, proposals.padded_hw, proposals.image_hw, hw)
        ranked = instance_inference(proposals.object_scores[:, None], masks, topk=self.topk)
        proposals.finish_check()
        return Instances(hw, pred_masks=ranked.masks, scores=ranked.scores)
