"""Proposer and visual encoder: the part of a model that runs once per image, before any vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..precision import autocast_to
from ..proposer import Proposer
from ..structures import EncodedImage, MaskProposals
from .encoding import EncoderInput, TrainingBatch, VisualEncoder, encode_masks_of_images, encoder_input, training_batch
from .out_of_memory import in_smaller_pieces
from .tiles import encode_in_tiles


class ImageEncodingModel(nn.Module):
    """Encodes images: masks of the proposer, and an embedding in CLIP's space for each.

    Args:
        proposer: the source of masks; frozen.
        visual_encoder: an `nn.Module` with the interface of `encoding.VisualEncoder`.
        padding: "image" or "batch", see MODEL.MASQCLIP.PADDING.
        padding_rgb: color (0..255) of the padding that CLIP gets to see if `padding` is "batch".
        tiles: at test, along each axis of an image, see `tiles`; 1: none, unless they are square.
        square_tiles: they are about square, whatever the image's shape.

    Raises:
        ValueError: `tiles` is below 1, or there are tiles with padding "batch".
    """

    padding_rgb: Tensor
    network_names = ("visual_encoder",)
    inference_dtype = torch.float32  # of the networks, see the package `acceleration`

    def __init__(
        self,
        *,
        proposer: Proposer,
        visual_encoder: VisualEncoder,
        padding: str = "image",
        padding_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0),
        tiles: int = 1,
        square_tiles: bool = False,
    ) -> None:
        super().__init__()
        if tiles < 1 or ((tiles > 1 or square_tiles) and padding == "batch"):
            raise ValueError(
                f"MODEL.MASQCLIP.CLIP.TILES must be 1 or more, got {tiles}; with MODEL.MASQCLIP.PADDING 'batch' it is "
                "1, and SQUARE_TILES False."
            )
        self.tiles = tiles
        self.square_tiles = square_tiles
        self.proposer = proposer
        self.visual_encoder = visual_encoder
        self.padding = padding
        self.register_buffer("padding_rgb", torch.tensor(padding_rgb).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.padding_rgb.device

    def train(self, mode: bool = True) -> ImageEncodingModel:
        """Like `nn.Module.train`, but the frozen proposer and a frozen vision tower stay in eval mode."""
        super().train(mode)
        self.proposer.eval()
        tower: Any = self.visual_encoder.visual
        if not any(parameter.requires_grad for parameter in tower.parameters()):
            tower.eval()
        return self

    def encode(self, record: dict, proposals: MaskProposals | None = None) -> EncodedImage:
        """Run proposer and visual encoder on one image.

        Args:
            record: one dict of the input, see `open_vocabulary`.
            proposals: masks of the image from another source; None: those of the proposer.

        Raises:
            RuntimeError: memory runs out (meta_arch/out_of_memory.py).
        """
        if proposals is None:
            return self.encode_batch([record])[0]
        with autocast_to(self.inference_dtype, self.device):
            return self._encode([record], [proposals])[0].float()

    @torch.no_grad()
    def encode_batch(self, batched_inputs: Sequence[dict]) -> list[EncodedImage]:
        """Run proposer and visual encoder on a batch.

        Raises:
            RuntimeError: memory runs out.
            TypeError, ValueError: the proposer returns no `MaskProposals`, or not one per image.
        """
        height, width = (max(record["image"].shape[axis] for record in batched_inputs) for axis in (-2, -1))
        size = f"images of up to {height} x {width} pixels"
        batched_inputs = [self._on_device(record) for record in batched_inputs]  # once for both networks
        with autocast_to(self.inference_dtype, self.device):
            proposals = in_smaller_pieces(self._propose, batched_inputs, size)
            encoded = [one.float() for one in self._encode(batched_inputs, proposals)]
        if not self.proposer.needs_ground_truth:
            return encoded
        rows = zip(batched_inputs, proposals, encoded, strict=True)
        return [_with_ground_truth(*row) for row in rows]

    def _on_device(self, record: dict) -> dict:
        return {**record, "image": record["image"].to(self.device, non_blocking=True)}

    def _propose(self, batched_inputs: Sequence[dict]) -> list[MaskProposals]:
        """Proposals on the device of the model; checked, as the proposer may be a user's own."""
        proposals, name = list(self.proposer.propose(batched_inputs)), type(self.proposer).__name__
        for found in proposals:
            if not isinstance(found, MaskProposals):
                raise TypeError(f"{name}.propose returned {type(found).__name__}; expected MaskProposals per image.")
        if len(proposals) != len(batched_inputs):
            raise ValueError(f"{name}.propose returned proposals of {len(proposals)} for {len(batched_inputs)} images.")
        return [found if found.mask_logits.device == self.device else found.to(self.device) for found in proposals]

    @torch.no_grad()
    def _encode(self, records: Sequence[dict], proposals: Sequence[MaskProposals]) -> list[EncodedImage]:
        images = [record["image"] for record in records]
        rows = list(zip(images, proposals, strict=True))
        if self.tiles > 1 or self.square_tiles:
            how = (self.tiles, self.square_tiles)
            found = [
                (encode_in_tiles(self.visual_encoder, image.to(self.device), masks, *how), masks)
                for image, masks in rows
            ]
        else:
            entered = [self.encoder_input(image, masks) for image, masks in rows]
            found = encode_masks_of_images(self.visual_encoder, entered, proposals)
        sizes = [
            (record.get("height", image.shape[-2]), record.get("width", image.shape[-1]))
            for record, image in zip(records, images, strict=True)
        ]
        return [
            EncodedImage(embeddings, masks, output_hw, coarse=None if masks is before else before)
            for (embeddings, masks), output_hw, before in zip(found, sizes, proposals, strict=True)
        ]

    def encoder_input(self, image: Tensor, proposals: MaskProposals) -> EncoderInput:
        """Input of the visual encoder for one image (3, H, W) and its masks."""
        padding_rgb = self.padding_rgb if self.padding == "batch" else None
        return encoder_input(image.to(self.device), proposals, self.visual_encoder.visual, padding_rgb)

    @torch.no_grad()
    def training_batch(
        self,
        batched_inputs: list[dict],
        target_hw: tuple[int, int] | None = None,
        proposals: Sequence[MaskProposals] | None = None,
    ) -> TrainingBatch:
        """Input of the visual encoder in training, with its ground truth; see `encoding.training_batch`.

        Args:
            batched_inputs: one record per image, with `instances`.
            target_hw: (height, width) of the target masks.
            proposals: masks of each image from another source; None: those of the proposer.
        """
        proposals = self._propose(batched_inputs) if proposals is None else proposals
        rows = zip(batched_inputs, proposals, strict=True)
        entered = [self.encoder_input(record["image"], of_image) for record, of_image in rows]
        return training_batch(entered, batched_inputs, target_hw)


def _with_ground_truth(record: dict, proposals: MaskProposals, encoded: EncodedImage) -> EncodedImage:
    truth = record["instances"]
    classes = truth.gt_classes if truth.has("gt_classes") else torch.zeros(0, dtype=torch.int64)
    return replace(encoded, gt_classes=classes, gt_masks=proposals.mask_logits > 0)
