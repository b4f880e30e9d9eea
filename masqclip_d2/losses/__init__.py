"""Losses of the training stages and their targets: matching, label assignment, pseudo masks.

Functions and modules of tensors, without state between calls and independent of trainer and dataset.
"""

from .criterion import SetCriterion

__all__ = ["SetCriterion"]
