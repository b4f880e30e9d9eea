"""The class-agnostic proposer: images in, mask proposals out (box "proposals" of both papers' figures).

Shape shorthand: B images, Q mask proposals, K classes, H, W pixels of the padded input.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from detectron2.config import configurable
from detectron2.modeling import Backbone, build_backbone, build_sem_seg_head
from torch import Tensor, nn
from torch.nn import functional as F

from ..structures import MaskProposals

PADDINGS = ("image", "batch")


class MaskFormerProposer(nn.Module):
    """Backbone and `MaskProposalHead`; names of the state dict as in published checkpoints.

    Args:
        backbone: Detectron2 backbone.
        sem_seg_head: features -> outputs of `MaskDecoder.forward`.
        pixel_mean, pixel_std: of RGB in 0..255; kept as buffers that are not saved, as published.
        size_divisibility: inputs are padded to multiples of it, in pixels.
        padding: "image": each image to its own multiple, so that its proposals do not depend on batch mates; "batch":
            all images to the largest of the batch, as published.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int,
        padding: str = "image",
    ) -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise ValueError(f"padding is {padding!r}; expected one of {', '.join(PADDINGS)}.")
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        # The backbone may ask for more than the config says; 0 or less means that it asks for nothing.
        self.size_divisibility = max(size_divisibility, backbone.size_divisibility, 1)
        self.padding = padding
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": cfg.MODEL.MASK_FORMER.SIZE_DIVISIBILITY,
            "padding": cfg.MODEL.MASQCLIP.PADDING,
        }

    def forward(self, images: Tensor) -> dict:
        """Run the network.

        Args:
            images: (B, 3, H, W) float, normalised, H and W multiples of `size_divisibility` (see `preprocess`).

        Returns:
            "pred_masks" (B, Q, H / 4, W / 4) logits, "pred_logits" (B, Q, K + 1) or None; in training mode also
            "aux_outputs", list of the same two for the earlier predictions.
        """
        return self.sem_seg_head(self.backbone(images))

    def preprocess(self, images: Sequence[Tensor]) -> Tensor:
        """Normalise, pad right and bottom with zeros (the mean colour) to one size, and stack.

        Args:
            images: each (3, H_i, W_i) RGB in 0..255, uint8 or float.

        Returns:
            (B, 3, H, W) on the device of this module; H, W: the largest sides, rounded up to `size_divisibility`.
        """
        height, width = (
            self._rounded_up(max(sides)) for sides in zip(*(image.shape[-2:] for image in images), strict=True)
        )
        normalised = [(image.to(self.pixel_mean) - self.pixel_mean) / self.pixel_std for image in images]
        return torch.stack(
            [F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2])) for image in normalised]
        )

    @torch.no_grad()
    def propose(self, batched_inputs: Sequence[dict]) -> list[MaskProposals]:
        """Find the masks of each image.

        Args:
            batched_inputs: per image "image" (3, H_i, W_i) RGB in 0..255, uint8 or float; sizes may differ, down to
                one pixel.

        Returns:
            Per image its Q proposals: mask logits at a quarter of the padded size, covering the padded size; object
            score = 1 - P(no object), or 1 where the head predicts no classes.

        Raises:
            ValueError: an image is not of shape (3, H, W) with at least one pixel.
        """
        images = [record["image"] for record in batched_inputs]
        for index, image in enumerate(images):
            if image.dim() != 3 or len(image) != 3 or not image.numel():
                raise ValueError(
                    f"Image {index} has shape {tuple(image.shape)}; expected (3, H, W), RGB, with at least one pixel."
                )
        groups = defaultdict(list)
        for index, image in enumerate(images):
            padded_hw = tuple(self._rounded_up(side) for side in image.shape[-2:])
            groups[padded_hw if self.padding == "image" else None].append(index)
        proposals: list[MaskProposals | None] = [None] * len(images)
        for members in groups.values():
            batch = self.preprocess([images[index] for index in members])
            outputs = MaskFormerProposer.forward(self, batch)  # a subclass may take records in its own `forward`
            scores = object_scores(outputs["pred_logits"], outputs["pred_masks"])
            for row, index in enumerate(members):
                proposals[index] = MaskProposals(
                    outputs["pred_masks"][row],
                    scores[row],
                    tuple(images[index].shape[-2:]),
                    tuple(batch.shape[-2:]),
                )
        return proposals

    def _rounded_up(self, side: int) -> int:
        return -(-side // self.size_divisibility) * self.size_divisibility


def object_scores(pred_logits: Tensor | None, pred_masks: Tensor) -> Tensor:
    """p_obj (B, Q) in [0, 1]: 1 - P(no object) for any number of classes K >= 1; ones without class logits."""
    if pred_logits is None:
        return pred_masks.new_ones(pred_masks.shape[:2])
    return 1 - pred_logits.float().softmax(-1)[..., -1]
