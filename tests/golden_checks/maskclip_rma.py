"""Outputs and gradients of mask class tokens with Relative Mask Attention: the published MaskCLIP encoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from masqclip_d2.checkpoint.sources import apply_renames, rma_renames
from masqclip_d2.visual_encoder.attend_mask import touched_patches
from masqclip_d2.visual_encoder.mask_class_tokens import MaskClassTokenEncoder
from masqclip_d2.visual_encoder.relative_mask_attention import attentions_with_rma
from masqclip_d2.vocabulary.text_classifier import class_logits

from . import GoldenRow, gradient_rows, max_abs_error, visual_tower

WHAT = ("MaskCLIP second stage with Relative Mask Attention",)

# About ten times the difference of the published code between float32 and float64 (golden/README.md).
LOGIT_TOLERANCE = 5e-4
MASK_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3  # relative to a gradient's largest entry


def check(arrays, meta) -> Iterator[GoldenRow]:
    arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
    visual = visual_tower(meta)
    rma_layers = meta["rma_blocks_zero_based"]
    layers = [layer + 1 for layer in rma_layers]
    encoder = MaskClassTokenEncoder(visual, attentions_with_rma(visual, layers)).eval()
    renames = rma_renames(rma_layers)

    def named(prefix: str) -> dict[str, torch.Tensor]:
        given = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        return {apply_renames(name, renames): array for name, array in given.items()}

    encoder.load_state_dict(named("sd/"))

    given_masks = arrays["mask_logits"].clone()
    result = encoder(arrays["image"], given_masks)
    logits = class_logits(result.mask_embeddings, arrays["text_embeddings"], 1 / meta["temperature"])
    yield GoldenRow("mask_logits given are unchanged", max_abs_error(given_masks, arrays["mask_logits"]), 0)
    before = [arrays["mask_logits"], *result.refined_mask_logits[:-1]]
    touched = torch.stack([touched_patches(masks, visual.patch_size) for masks in before])
    yield GoldenRow("dbg/touched_before_block", max_abs_error(touched, arrays["dbg/touched_before_block"]), 0)
    for index, masks in enumerate(result.refined_mask_logits, start=1):
        name = f"out/refined_mask_{index}"
        yield GoldenRow(name, max_abs_error(masks, arrays[name]), MASK_TOLERANCE)
    yield GoldenRow("out/pred_logits", max_abs_error(logits, arrays["out/pred_logits"]), LOGIT_TOLERANCE)

    last_masks = result.refined_mask_logits[-1]
    loss = (logits * arrays["grad_weights_logits"]).mean() + (last_masks * arrays["grad_weights_masks"]).mean()
    yield GoldenRow("out/loss_for_grad", max_abs_error(loss, arrays["out/loss_for_grad"]), LOGIT_TOLERANCE)
    loss.backward()
    gradients = named("grad/")
    yield from gradient_rows(encoder, gradients, GRADIENT_TOLERANCE)
    trainable = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    yield GoldenRow("names trainable on one side only", len(trainable ^ gradients.keys()), 0)
