"""Images and mask proposals -> inputs of the visual encoder -> mask embeddings.

Shape shorthand: B images, Q mask proposals, E embedding, R input resolution of the visual encoder, H, W pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..clip import VisionTower
from ..losses.targets import encoder_targets
from ..structures import CERTAIN_LOGIT, MaskProposals
from .out_of_memory import in_smaller_pieces


class MaskEncoding(Protocol):
    """Output of a visual encoder."""

    @property
    def mask_embeddings(self) -> Tensor:
        """(B, Q, E) float in CLIP's space, not unit length."""
        ...

    @property
    def refined_mask_logits(self) -> Sequence[Tensor]:
        """(B, Q, R, R) each, the last one final; empty if the encoder does not refine masks."""
        ...


class VisualEncoder(Protocol):
    """An `nn.Module` that embeds masks."""

    @property
    def visual(self) -> VisionTower:
        """CLIP's vision tower."""
        ...

    def __call__(self, image: Tensor, mask_logits: Tensor) -> MaskEncoding:
        """Embed masks (B, Q, R, R) of images (B, 3, R, R)."""
        ...


@dataclass(frozen=True)
class EncoderInput:
    """One image as the visual encoder gets it."""

    image: Tensor  # (3, R, R) float, normalized for CLIP
    mask_logits: Tensor  # (Q, R, R) float
    frame_hw: tuple[int, int]  # (height, width) in pixels that both cover: the image, or the padded batch


@dataclass(frozen=True)
class TrainingBatch:
    """A batch as the visual encoder gets it in training, with its ground truth."""

    images: Tensor  # (B, 3, R, R)
    mask_logits: Tensor  # (B, Q, R, R); images with fewer proposals are filled up with empty masks
    num_proposals: list[int]  # of each image
    targets: list[dict[str, Tensor]]  # see `encoder_targets`


def encoder_input(
    image: Tensor, proposals: MaskProposals, visual: VisionTower, padding_rgb: Tensor | None
) -> EncoderInput:
    """Resize image and masks to the input of the visual encoder.

    Args:
        image: (3, H, W) RGB 0..255.
        proposals: Q masks of it.
        visual: the tower of the visual encoder; its resolution and preprocessing are used.
        padding_rgb: (3, 1, 1) color 0..255 of the padding that the encoder gets to see (MODEL.MASQCLIP.PADDING
            "batch"); None: the encoder gets the image without padding.
    """
    if padding_rgb is not None:
        image = _pad(image, proposals.padded_hw, padding_rgb)
    resolution = visual.input_resolution
    mask_logits = proposals.resized((resolution, resolution), "image" if padding_rgb is None else "padded")
    height, width = image.shape[-2:]
    return EncoderInput(visual.preprocessing.image(image, resolution), mask_logits, (height, width))


def encode_masks_of_images(
    visual_encoder: VisualEncoder, entered: Sequence[EncoderInput], proposals: Sequence[MaskProposals]
) -> list[tuple[Tensor, MaskProposals]]:
    """Embed the masks of images: those with equally many masks in one pass, so that nothing is padded.

    If memory runs out, one image at a time, then one mask at a time.

    Returns:
        Per image (Q, E) mask embeddings, not unit length, and the proposals with the masks as the encoder refined them,
        or unchanged if it does not refine.
    """
    groups = defaultdict(list)
    for index, of_image in enumerate(proposals):
        groups[len(of_image)].append(index)
    embedded: dict[int, tuple[Tensor, MaskProposals]] = {}
    for members in groups.values():
        rows = [(entered[index], proposals[index]) for index in members]
        found = in_smaller_pieces(partial(_encode_group, visual_encoder), rows, "encoder inputs")
        embedded.update(zip(members, found, strict=True))
    return [embedded[index] for index in range(len(proposals))]


def _encode_group(
    visual_encoder: VisualEncoder, rows: Sequence[tuple[EncoderInput, MaskProposals]]
) -> list[tuple[Tensor, MaskProposals]]:
    if len(rows) == 1:
        return [encode_masks(visual_encoder, *rows[0])]
    images = torch.stack([one.image for one, _ in rows])
    encoded = visual_encoder(images, torch.stack([one.mask_logits for one, _ in rows]))
    refined = encoded.refined_mask_logits[-1] if encoded.refined_mask_logits else [None] * len(rows)
    found = zip(encoded.mask_embeddings, rows, refined, strict=True)
    return [(embeddings, _with_masks(proposals, masks, one)) for embeddings, (one, proposals), masks in found]


def encode_masks(
    visual_encoder: VisualEncoder, entered: EncoderInput, proposals: MaskProposals
) -> tuple[Tensor, MaskProposals]:
    """Embed the masks of one image; if memory runs out, one mask at a time. Results as in `encode_masks_of_images`."""

    def encode(masks: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        encoded = visual_encoder(entered.image[None], masks[None])
        refined = encoded.refined_mask_logits[-1][0] if encoded.refined_mask_logits else [None] * len(masks)
        return list(zip(encoded.mask_embeddings[0], refined, strict=True))

    if not len(proposals):
        return visual_encoder(entered.image[None], entered.mask_logits[None]).mask_embeddings[0], proposals
    what = f"masks of an image of {entered.frame_hw[0]} x {entered.frame_hw[1]} pixels"
    embeddings, refined = zip(*in_smaller_pieces(encode, entered.mask_logits, what), strict=True)
    masks = None if refined[0] is None else torch.stack(refined)
    return torch.stack(embeddings), _with_masks(proposals, masks, entered)


def _with_masks(proposals: MaskProposals, masks: Tensor | None, entered: EncoderInput) -> MaskProposals:
    """The proposals with refined masks (Q, R, R); unchanged for None."""
    if masks is None:
        return proposals
    return MaskProposals(
        masks.float(), proposals.object_scores, proposals.image_hw, entered.frame_hw, proposals.certain
    )


def training_batch(
    entered: Sequence[EncoderInput], batched_inputs: Sequence[dict], target_hw: tuple[int, int] | None = None
) -> TrainingBatch:
    """Collate the inputs of a batch and its ground truth.

    Args:
        entered: one per image.
        batched_inputs: one record per image, with `instances`.
        target_hw: (height, width) of the target masks; None: see `encoder_targets`.
    """
    masks = pad_sequence([one.mask_logits for one in entered], batch_first=True, padding_value=-CERTAIN_LOGIT)
    targets = encoder_targets(batched_inputs, [one.frame_hw for one in entered], target_hw, masks.device)
    images = torch.stack([one.image for one in entered])
    return TrainingBatch(images, masks, [len(one.mask_logits) for one in entered], targets)


def _pad(image: Tensor, padded_hw: tuple[int, int], rgb: Tensor) -> Tensor:
    padded = rgb.expand(3, *padded_hw).clone()
    padded[:, : image.shape[-2], : image.shape[-1]] = image
    return padded
