"""Losses of the training stages, and the rules that choose what is learned: matching, label assignment, pseudo masks.

Pure functions and modules of tensors; they know no trainer and no dataset.
"""

from .criterion import SetCriterion

__all__ = ["SetCriterion"]
