"""The contrastive loss of cases computed by hand."""

import math

import pytest
import torch

from masqclip_d2.shapes.clip_pretraining.contrastive_loss import contrastive_loss


def test_loss_of_two_pairs_by_hand():
    images = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # the length is irrelevant
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = contrastive_loss(images, texts, torch.tensor(4.0), torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-4)), rel=1e-4)


def test_equal_captions_are_all_correct():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = contrastive_loss(embeddings, embeddings, torch.tensor(30.0), torch.tensor([7, 7, 8]))
    # The two equal pairs share target and prediction evenly: ln 2 each. The third is certain.
    assert loss.item() == pytest.approx(2 * math.log(2) / 3, abs=1e-6)
