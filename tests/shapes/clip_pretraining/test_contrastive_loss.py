"""The contrastive loss against hand-made cases, and the windows that small images become."""

import math

import pytest
import torch

from masqclip_d2.shapes.clip_pretraining.contrastive_loss import contrastive_loss, random_windows


def test_loss_of_two_pairs_by_hand():
    images = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # lengths do not matter
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = contrastive_loss(images, texts, torch.tensor(4.0), torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-4)), rel=1e-4)


def test_equal_captions_are_all_right_answers():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = contrastive_loss(embeddings, embeddings, torch.tensor(30.0), torch.tensor([7, 7, 8]))
    # The two equal pairs share their target evenly, as the prediction does: ln 2 each; the third is certain.
    assert loss.item() == pytest.approx(2 * math.log(2) / 3, abs=1e-6)


def test_windows_lie_in_the_grid_and_reach_all_of_it():
    torch.manual_seed(0)
    places = random_windows(200, window=2, grid=5, device=torch.device("cpu"))
    assert places.shape == (200, 4)
    top, left = places[:, 0] // 5, places[:, 0] % 5
    assert set(top.tolist()) == set(left.tolist()) == {0, 1, 2, 3}
    torch.testing.assert_close(places - places[:, :1], torch.tensor([[0, 1, 5, 6]]).expand(200, -1))


def test_window_of_the_whole_grid_is_the_grid():
    places = random_windows(1, window=3, grid=3, device=torch.device("cpu"))
    assert places.tolist() == [list(range(9))]
