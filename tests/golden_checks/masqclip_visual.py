"""Outputs and gradients of mask class tokens with new query projections: the published MasQCLIP encoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from masqclip_d2.checkpoint.sources import MASQ_RENAMES, apply_renames
from masqclip_d2.ops.mask_refinement import patch_maxima
from masqclip_d2.structures import MaskProposals
from masqclip_d2.visual_encoder.attend_mask import attend_mask
from masqclip_d2.visual_encoder.mask_class_tokens import MaskClassTokenEncoder
from masqclip_d2.visual_encoder.masq_attention import MasqAttention
from masqclip_d2.vocabulary.text_classifier import class_logits

from . import GoldenRow, gradient_rows, max_abs_error, visual_tower

WHAT = ("MasQCLIP second stage: image + mask logits",)

# About ten times the difference of the published code between float32 and float64 (golden/README.md).
LOGIT_TOLERANCE = 3e-4
EMBEDDING_TOLERANCE = 2e-5
IMAGE_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-3  # relative to a gradient's largest entry


def check(arrays, meta) -> Iterator[GoldenRow]:
    arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
    visual = visual_tower(meta)
    attentions = [MasqAttention(meta["width"]) for _ in range(meta["layers"])]
    encoder = MaskClassTokenEncoder(visual, attentions, zero_is_inside=False, own_position=True).eval()
    state = {name.removeprefix("sd/"): array for name, array in arrays.items() if name.startswith("sd/")}
    encoder.load_state_dict({apply_renames(name, MASQ_RENAMES): tensor for name, tensor in state.items()})
    encoder.mask_embeddings.requires_grad_(True)  # as the published code trains it

    resolution = meta["input_resolution"]
    image = torch.stack([visual.preprocessing.image(one, resolution) for one in arrays["image"]])
    yield GoldenRow("dbg/clip_image", max_abs_error(image, arrays["dbg/clip_image"]), IMAGE_TOLERANCE)
    proposals = [MaskProposals(masks, torch.ones(len(masks)), masks.shape[-2:]) for masks in arrays["mask_logits"]]
    mask_logits = torch.stack([one.resized((resolution, resolution)) for one in proposals])
    allowed = attend_mask(patch_maxima(mask_logits, meta["patch_size"]), zero_is_inside=False)
    yield GoldenRow("dbg/touched", max_abs_error(allowed, arrays["dbg/touched"]), 0)
    result = encoder(image, mask_logits)
    logits = class_logits(result.mask_embeddings, arrays["text_embeddings"], meta["logit_scale"])
    yield GoldenRow(
        "dbg/clip_class_embedding",
        max_abs_error(result.class_embedding, arrays["dbg/clip_class_embedding"]),
        EMBEDDING_TOLERANCE,
    )
    clip_tokens = arrays["dbg/tokens"][meta["queries"] :].transpose(0, 1)  # after the mask class tokens
    yield GoldenRow("dbg/tokens of CLIP", max_abs_error(result.clip_tokens, clip_tokens), EMBEDDING_TOLERANCE)
    yield GoldenRow(
        "dbg/mask_embedding",
        max_abs_error(result.mask_embeddings, arrays["dbg/mask_embedding"]),
        EMBEDDING_TOLERANCE,
    )
    yield GoldenRow("out/pred_logits", max_abs_error(logits, arrays["out/pred_logits"]), LOGIT_TOLERANCE)

    loss = (logits * arrays["grad_weights"]).mean()
    yield GoldenRow("out/loss_for_grad", max_abs_error(loss, arrays["out/loss_for_grad"]), LOGIT_TOLERANCE)
    loss.backward()
    given = {name.removeprefix("grad/"): array for name, array in arrays.items() if name.startswith("grad/")}
    gradients = {apply_renames(name, MASQ_RENAMES): array for name, array in given.items()}
    yield from gradient_rows(encoder, gradients, GRADIENT_TOLERANCE)
