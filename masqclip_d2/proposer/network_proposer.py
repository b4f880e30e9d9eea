"""What network proposers share: images of any size -> normalized, padded batches -> mask proposals.

Shape shorthand: B images, Q mask proposals, H, W pixels of the padded input.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence

import torch
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_backbone
from torch import Tensor
from torch.nn import functional as F

from ..structures import MaskProposals
from ..user_code import unknown_name
from .registry import Proposer

PADDINGS = ("image", "batch")


def build_named_backbone(cfg) -> Backbone:
    """Detectron2's `build_backbone`; ValueError if MODEL.BACKBONE.NAME is not registered."""
    name = cfg.MODEL.BACKBONE.NAME
    if name not in BACKBONE_REGISTRY:
        raise unknown_name("MODEL.BACKBONE.NAME", name, (registered for registered, _ in BACKBONE_REGISTRY))
    return build_backbone(cfg)


class NetworkProposer(Proposer):
    """Normalize, pad and group images into batches; subclasses predict the masks of a padded batch.

    Args:
        pixel_mean, pixel_std: for RGB in 0..255; buffers outside the state dict, as in published checkpoints.
        size_divisibility: inputs are padded to multiples of it, in pixels.
        padding: "image": pad each image to its own multiple, so that its proposals do not depend on the other images of
            the batch; "batch": pad all images to the largest of the batch, as published.

    Raises:
        ValueError: `padding` is unknown.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, *, pixel_mean: Sequence[float], pixel_std: Sequence[float], size_divisibility: int, padding: str = "image"
    ) -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise ValueError(f"padding is {padding!r}; expected one of {', '.join(PADDINGS)}.")
        self.size_divisibility = size_divisibility
        self.padding = padding
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @staticmethod
    def input_arguments(cfg) -> dict:
        """Arguments of this class from the configuration."""
        return {
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": cfg.MODEL.MASK_FORMER.SIZE_DIVISIBILITY,
            "padding": cfg.MODEL.MASQCLIP.PADDING,
        }

    @abstractmethod
    def propose_in_batch(self, batch: Tensor, image_hw: Sequence[tuple[int, int]]) -> list[MaskProposals]:
        """Masks of each image of a batch.

        Args:
            batch: (B, 3, H, W), result of `preprocess`.
            image_hw: per image the (height, width) in pixels without padding.

        Returns:
            Per image its proposals; they cover the padded size (H, W).
        """

    def preprocess(self, images: Sequence[Tensor]) -> Tensor:
        """Normalize, pad right and bottom with zeros (the mean color) to one size, and stack.

        Args:
            images: each (3, H_i, W_i) RGB in 0..255, uint8 or float.

        Returns:
            (B, 3, H, W) on the device of this module; H and W are the largest sides, rounded up to `size_divisibility`.
        """
        height, width = (
            self._rounded_up(max(sides)) for sides in zip(*(image.shape[-2:] for image in images), strict=True)
        )
        normalized = [(image.to(self.pixel_mean) - self.pixel_mean) / self.pixel_std for image in images]
        return torch.stack(
            [F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2])) for image in normalized]
        )

    @torch.no_grad()
    def propose(self, batched_inputs: Sequence[dict]) -> list[MaskProposals]:
        """See `Proposer.propose`; only "image" is used, and sizes may differ, down to one pixel.

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
        proposals: dict[int, MaskProposals] = {}
        for members in groups.values():
            batch = self.preprocess([images[index] for index in members])
            image_hw = [(images[index].shape[-2], images[index].shape[-1]) for index in members]
            proposals.update(zip(members, self.propose_in_batch(batch, image_hw), strict=True))
        return [proposals[index] for index in range(len(images))]

    def _rounded_up(self, side: int) -> int:
        # Of positive numbers only: in ONNX files -(-side // n) is rounded towards zero.
        return (side + self.size_divisibility - 1) // self.size_divisibility * self.size_divisibility
