"""Losses of the training stages and their targets: matching, label assignment, pseudo masks.

Functions and modules of tensors, without state between calls and independent of trainer and dataset.

May import `proposer`, `visual_encoder`, `fusion` and everything below them, neither `data` nor `engine`.
"""

from .criterion import SetCriterion

__all__ = ["SetCriterion"]
