import math

import pytest
import torch

from masqclip_d2.fusion import ClassScores, class_log_probs


def test_object_score_multiplies_class_probability_and_a_later_column_is_ignored():
    # softmax of (log 1, log 2, log 5) = 1/8, 2/8, 5/8; the last column is the extra class
    class_logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    scores = ClassScores.from_log_probs(class_log_probs(class_logits, torch.tensor([0.4])), num_categories=2)
    torch.testing.assert_close(scores.probs, torch.tensor([[0.4 / 8, 0.8 / 8]]))
    assert scores.reject_probs is None


def test_the_best_rejecting_column_counts():
    log_probs = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25], [0.5, 0.1, 0.05, 0.2, 0.15]]).log()
    scores = ClassScores.from_log_probs(log_probs, num_categories=2, num_rejecting=2)
    torch.testing.assert_close(scores.probs, torch.tensor([[0.1, 0.2], [0.5, 0.1]]))
    torch.testing.assert_close(scores.reject_probs, torch.tensor([0.3, 0.2]))


def test_without_extra_class_probabilities_sum_to_one():
    probs = class_log_probs(torch.randn(5, 7)).exp()
    torch.testing.assert_close(probs.sum(-1), torch.ones(5))


def test_works_on_batches_and_in_half_precision_input():
    logits = torch.randn(2, 5, 7).bfloat16()
    scores = torch.rand(2, 5)
    batched = class_log_probs(logits, scores)
    assert batched.dtype == torch.float32
    assert torch.equal(batched[1], class_log_probs(logits[1], scores[1]))


def test_object_score_zero_is_probability_zero():
    probs = class_log_probs(torch.randn(1, 3), torch.zeros(1)).exp()
    assert torch.equal(probs, torch.zeros(1, 3))


@pytest.mark.parametrize("num_rejecting", [0, 1])
def test_one_category_and_no_proposals(num_rejecting):
    log_probs = class_log_probs(torch.zeros(0, 1 + num_rejecting), torch.zeros(0))
    scores = ClassScores.from_log_probs(log_probs, 1, num_rejecting)
    assert scores.probs.shape == (0, 1)
    assert scores.reject_probs is None or scores.reject_probs.shape == (0,)


@pytest.mark.parametrize(
    ("class_logits", "object_scores", "message"),
    [
        (torch.zeros(3), None, r"\(\.\.\., Q, C\)"),
        (torch.zeros(3, 0), None, "C > 0"),
        (torch.zeros(3, 4), torch.zeros(2), r"\(3,\).*got \(2,\)"),
    ],
    ids=["not a table", "no columns", "other Q"],
)
def test_logits_that_do_not_fit_are_refused(class_logits, object_scores, message):
    with pytest.raises(ValueError, match=message):
        class_log_probs(class_logits, object_scores)


@pytest.mark.parametrize(("num_categories", "num_rejecting"), [(0, 1), (3, 0), (2, 1)])
def test_too_few_columns_are_refused(num_categories, num_rejecting):
    with pytest.raises(ValueError, match="got 2 columns"):
        ClassScores.from_log_probs(torch.zeros(4, 2), num_categories, num_rejecting)


@pytest.mark.parametrize(
    ("probs", "reject_probs", "message"),
    [
        (torch.zeros(3), None, r"probs must have shape \(Q, K\)"),
        (torch.zeros(3, 2), torch.zeros(2), r"reject_probs must have shape \(3,\)"),
    ],
)
def test_scores_of_other_shapes_are_refused(probs, reject_probs, message):
    with pytest.raises(ValueError, match=message):
        ClassScores(probs, reject_probs)
