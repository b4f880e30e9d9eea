import math

import pytest
import torch

from masqclip_d2.fusion import class_log_scores


def test_object_score_multiplies_class_probability_and_background_is_dropped():
    # softmax of (log 1, log 2, log 5) = 1/8, 2/8, 5/8; the last is background
    class_logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    probs = class_log_scores(class_logits, torch.tensor([0.4]), drop_extra=True).exp()
    torch.testing.assert_close(probs, torch.tensor([[0.4 / 8, 0.8 / 8]]))


def test_without_extra_class_probabilities_sum_to_one():
    probs = class_log_scores(torch.randn(5, 7)).exp()
    torch.testing.assert_close(probs.sum(-1), torch.ones(5))


def test_works_on_batches_and_in_half_precision_input():
    logits = torch.randn(2, 5, 7).bfloat16()
    scores = torch.rand(2, 5)
    batched = class_log_scores(logits, scores, drop_extra=True)
    assert batched.dtype == torch.float32
    assert torch.equal(batched[1], class_log_scores(logits[1], scores[1], drop_extra=True))


def test_object_score_zero_is_probability_zero():
    probs = class_log_scores(torch.randn(1, 3), torch.zeros(1)).exp()
    assert torch.equal(probs, torch.zeros(1, 3))


@pytest.mark.parametrize("drop_extra, columns", [(False, 1), (True, 2)], ids=["one word", "one word and background"])
def test_one_word_and_no_proposals(drop_extra, columns):
    assert class_log_scores(torch.zeros(0, columns), torch.zeros(0), drop_extra).shape == (0, 1)


@pytest.mark.parametrize(
    "class_logits, object_scores, drop_extra, message",
    [
        (torch.zeros(3), None, False, r"\(\.\.\., Q, K\)"),
        (torch.zeros(3, 0), None, False, "no category is left"),
        (torch.zeros(3, 1), None, True, "no category is left"),
        (torch.zeros(3, 4), torch.zeros(2), False, r"\(3,\).*got \(2,\)"),
    ],
    ids=["not a table", "empty vocabulary", "background alone", "other Q"],
)
def test_refuses(class_logits, object_scores, drop_extra, message):
    with pytest.raises(ValueError, match=message):
        class_log_scores(class_logits, object_scores, drop_extra)
