"""Class logits as the losses of stages `rma` and `masq_tuning` take them: K categories and "none of them"."""

from __future__ import annotations

import torch
from torch import Tensor


def merge_none_columns(class_logits: Tensor, num_categories: int) -> Tensor:
    """Join the columns after the categories (background prompts, extra class) into one.

    Args:
        class_logits: (..., C) float; the first K columns are the categories.
        num_categories: K, less than C.

    Returns:
        (..., K + 1); the softmax gives the last column the sum of the joined ones.
    """
    if class_logits.shape[-1] == num_categories + 1:
        return class_logits
    none = class_logits[..., num_categories:].logsumexp(dim=-1, keepdim=True)
    return torch.cat([class_logits[..., :num_categories], none], dim=-1)
