"""Outputs of mask class tokens without RMA: the published MaskCLIP encoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from masqclip_d2.visual_encoder.attend_mask import touched_patches
from masqclip_d2.visual_encoder.mask_class_tokens import MaskClassTokenEncoder
from masqclip_d2.vocabulary.text_classifier import class_logits

from . import GoldenRow, max_abs_error, visual_tower

WHAT = ("Mask class tokens with the attention mask, frozen CLIP, no RMA",)

EMBEDDING_TOLERANCE = 2e-5  # absolute, float32, CPU; the published code differs by 2e-6 between float32 and float64
LOGIT_TOLERANCE = 3e-4


def check(arrays, meta) -> Iterator[GoldenRow]:
    arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
    visual = visual_tower(meta)
    encoder = MaskClassTokenEncoder(visual).eval()
    encoder.load_state_dict({name.removeprefix("sd/"): a for name, a in arrays.items() if name.startswith("sd/")})
    image, mask_logits = arrays["image"], arrays["mask_logits"]
    with torch.inference_mode():
        result = encoder(image, mask_logits)
        logits = class_logits(result.mask_embeddings, arrays["text_embeddings"], 1 / meta["temperature"])
        plain = visual(image)
    touched = touched_patches(mask_logits, visual.patch_size)
    expected_plain = arrays["dbg/plain_clip_embedding"]
    yield GoldenRow("dbg/touched", max_abs_error(touched, arrays["dbg/touched"]), 0)
    yield GoldenRow("dbg/plain_clip_embedding", max_abs_error(plain, expected_plain), EMBEDDING_TOLERANCE)
    yield GoldenRow("class_embedding", max_abs_error(result.class_embedding, expected_plain), EMBEDDING_TOLERANCE)
    error = max_abs_error(result.mask_embeddings, arrays["out/mask_embedding"])
    yield GoldenRow("out/mask_embedding", error, EMBEDDING_TOLERANCE)
    yield GoldenRow("out/pred_logits", max_abs_error(logits, arrays["out/pred_logits"]), LOGIT_TOLERANCE)
