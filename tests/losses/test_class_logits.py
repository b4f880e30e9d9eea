"""Columns of class logits that mean "none of the categories"."""

import torch

from masqclip_d2.losses.class_logits import merge_none_columns


def test_merged_columns_have_the_sum_of_their_probabilities():
    logits = torch.randn(2, 3, 6)
    probs = logits.softmax(-1)
    merged = merge_none_columns(logits, num_categories=2).softmax(-1)
    torch.testing.assert_close(merged, torch.cat([probs[..., :2], probs[..., 2:].sum(-1, keepdim=True)], dim=-1))


def test_a_single_column_stays_as_it_is():
    logits = torch.randn(4, 3)
    assert merge_none_columns(logits, num_categories=2) is logits
