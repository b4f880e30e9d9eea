import pytest
import torch

from masqclip_d2.fusion import semantic_inference, semantic_labels


def test_map_is_the_weighted_sum_of_mask_probabilities():
    class_probs = torch.tensor([[0.5, 0.25], [0.0, 1.0]])
    mask_logits = torch.tensor([[[0.0, 50.0]], [[0.0, -50.0]]])  # probabilities 0.5, 1 and 0.5, 0
    expected = torch.tensor([[[0.25, 0.5]], [[0.625, 0.25]]])
    torch.testing.assert_close(semantic_inference(class_probs, mask_logits), expected)


@pytest.mark.parametrize("tile_scores", [1, 100, 10**9], ids=["pixel by pixel", "odd tiles", "one tile"])
def test_labels_are_the_argmax_of_the_map(tile_scores):
    class_probs, mask_logits = torch.rand(12, 9), torch.randn(12, 13, 17) * 3
    labels = semantic_labels(class_probs, mask_logits, tile_scores)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, semantic_inference(class_probs, mask_logits).argmax(0))


def test_labels_never_hold_scores_of_all_pixels(monkeypatch):
    sizes = []
    original = torch.argmax
    monkeypatch.setattr(torch, "argmax", lambda x, *a, **k: (sizes.append(x.numel()), original(x, *a, **k))[1])
    semantic_labels(torch.rand(3, 50), torch.randn(3, 40, 40), tile_scores=5000)
    assert len(sizes) == 16 and max(sizes) <= 5000


def test_permuting_proposals_changes_nothing():
    class_probs, mask_logits = torch.rand(6, 4), torch.randn(6, 5, 5)
    order = torch.randperm(6)
    torch.testing.assert_close(
        semantic_inference(class_probs, mask_logits), semantic_inference(class_probs[order], mask_logits[order])
    )


def test_no_proposals_and_one_category():
    assert semantic_inference(torch.zeros(0, 3), torch.zeros(0, 4, 5)).tolist() == torch.zeros(3, 4, 5).tolist()
    assert semantic_labels(torch.zeros(0, 3), torch.zeros(0, 4, 5)).tolist() == torch.zeros(4, 5).tolist()
    assert semantic_labels(torch.rand(2, 1), torch.randn(2, 4, 5)).max() == 0


def test_refuses_differing_q_and_no_category():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 5, 5\)"):
        semantic_inference(torch.rand(3, 4), torch.rand(2, 5, 5))
    with pytest.raises(ValueError, match="at least one category"):
        semantic_labels(torch.rand(3, 0), torch.rand(3, 5, 5))
