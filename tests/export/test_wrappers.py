"""The parts in plain PyTorch, with the implementations of an export, against the model."""

from __future__ import annotations

import pytest
import torch

from masqclip_d2.export.parts import PART_NAMES, build_part
from masqclip_d2.ops.selection import export_implementations
from masqclip_d2.structures import MaskProposals
from masqclip_d2.vocabulary import class_logits
from tests.helpers import random_image, tiny_predictor

ARCHITECTURES = {"MaskCLIP": ("MODEL.MASQCLIP.RMA.LAYERS", "[2]"), "MasQCLIP": (), "ValuePooling": ()}


@pytest.fixture(params=ARCHITECTURES)
def model(request, tmp_path):
    return tiny_predictor(tmp_path, request.param, *ARCHITECTURES[request.param]).model


def unit_rows(model, number: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(number, model.text_classifier.embedding_dim), dim=-1)


@torch.no_grad()
def test_parts_compute_what_the_model_computes(model):
    parts = {name: build_part(name, model).module.eval() for name in PART_NAMES}
    image, texts = random_image(70, 101), unit_rows(model, 9)
    encoded = model.encode({"image": image})
    expected = class_logits(encoded.mask_embeddings, texts, model.text_classifier.logit_scale)
    pixels = image.permute(1, 2, 0)
    with export_implementations():
        scores, masks, extent = parts["proposer"](pixels)
        logits, *refined = parts["classifier"](pixels, masks, extent, texts)
        of_whole = parts["whole"](pixels, texts)
    for found in (logits, of_whole[0]):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(scores, encoded.proposals.object_scores)
    torch.testing.assert_close((refined or [masks])[0], encoded.proposals.mask_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(of_whole[2], encoded.proposals.mask_logits, atol=1e-4, rtol=1e-4)
    assert tuple(extent.tolist()) == (96, 128) and tuple(of_whole[3].tolist()) == encoded.proposals.padded_hw


@torch.no_grad()
def test_masks_of_the_size_of_the_image(model):
    classifier = build_part("classifier", model).module
    image, texts, masks = random_image(40, 33), unit_rows(model, 2), torch.randn(3, 40, 33)
    encoded = model.encode({"image": image}, MaskProposals(masks, torch.ones(3), (40, 33)))
    with export_implementations():
        logits, *_ = classifier(image.permute(1, 2, 0), masks, torch.tensor([40, 33]), texts)
    expected = class_logits(encoded.mask_embeddings, texts, model.text_classifier.logit_scale)
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-4)
