"""Class scores of mask proposals: CLIP's classification, optionally times the object score of the proposer.

In: class logits of the visual encoder and text classifier, object scores of the proposer. Out: log p, which the three
inference functions of this folder take as `class_probs = log_scores.exp()`.

Shape shorthand: Q mask proposals, K categories.
"""

from __future__ import annotations

import torch
from torch import Tensor


def class_log_scores(class_logits: Tensor, object_scores: Tensor | None = None, drop_extra: bool = False) -> Tensor:
    """Fuse object score and class probability of every proposal in log space.

    MasQCLIP: p_cls = p_obj * p_clip, i.e. log p_obj + log-softmax over the K categories and "background", whose
    column is dropped afterwards (`drop_extra=True`). The rest is not normalised again: it sums to less than 1.
    MaskCLIP (Ding et al., Sec. 3): log-softmax over the columns, no object score; K columns and nothing dropped, or,
    for a model trained with the extra class "other", K + 1 columns. Those are dropped for semantic and instance
    inference and kept for `panoptic_inference`, which discards proposals whose best column is the extra class.

    Args:
        class_logits: (..., Q, K) or (..., Q, K + 1) float, already multiplied by the logit scale; the extra class
            ("background" or "other") is the last column.
        object_scores: (..., Q) in [0, 1], p_obj; None leaves the object score out.
        drop_extra: drop the last column after the soft-max.

    Returns:
        (..., Q, K) float32, at most 0; -inf where the object score is 0.

    Raises:
        ValueError: shapes disagree, or no category would be left.
    """
    if class_logits.dim() < 2:
        raise ValueError(f"class_logits must have shape (..., Q, K), got {tuple(class_logits.shape)}.")
    if class_logits.shape[-1] < (2 if drop_extra else 1):
        raise ValueError(
            f"class_logits has {class_logits.shape[-1]} columns and drop_extra is {drop_extra}: no category is left. "
            "Give the vocabulary at least one word."
        )
    log_scores = torch.log_softmax(class_logits.float(), dim=-1)
    if object_scores is not None:
        if object_scores.shape != class_logits.shape[:-1]:
            raise ValueError(
                f"object_scores must have shape {tuple(class_logits.shape[:-1])} to go with class_logits of shape "
                f"{tuple(class_logits.shape)}, got {tuple(object_scores.shape)}."
            )
        log_scores = log_scores + object_scores.float().log()[..., None]
    return log_scores[..., :-1] if drop_extra else log_scores
