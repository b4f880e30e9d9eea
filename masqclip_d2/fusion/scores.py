"""Class scores of mask proposals: CLIP's classification, optionally multiplied by the proposer's object score.

In: class logits from visual encoder and text classifier, object scores from the proposer. Out: `ClassScores`, which
panoptic inference takes; semantic and instance inference take its `probs`. Background prompts: `background`.

Shape shorthand: Q mask proposals, K categories, N background prompts, C columns of class logits (categories, background
prompts, extra class).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassScores:
    """Scores of the mask proposals of one image.

    Args:
        probs: (Q, K) float in [0, 1], one column per category of the vocabulary.
        reject_probs: (Q,) float in [0, 1], probability of the extra class. Panoptic inference discards a proposal for
            which it exceeds all of `probs`. None: no proposal is discarded.
        background_probs: (Q, N) float in [0, 1], one column per background prompt; None: there are none.

    Raises:
        ValueError: shapes disagree.
    """

    probs: Tensor
    reject_probs: Tensor | None = None
    background_probs: Tensor | None = None

    def __post_init__(self) -> None:
        if self.probs.dim() != 2:
            raise ValueError(f"probs must have shape (Q, K), got {tuple(self.probs.shape)}.")
        if self.reject_probs is not None and self.reject_probs.shape != self.probs.shape[:1]:
            raise ValueError(
                f"reject_probs must have shape ({len(self.probs)},) to go with probs of shape "
                f"{tuple(self.probs.shape)}, got {tuple(self.reject_probs.shape)}."
            )
        if self.background_probs is not None and self.background_probs.shape[:-1] != self.probs.shape[:1]:
            raise ValueError(
                f"background_probs must have shape ({len(self.probs)}, N) to go with probs of shape "
                f"{tuple(self.probs.shape)}, got {tuple(self.background_probs.shape)}."
            )

    def to(self, device: torch.device) -> ClassScores:
        """The same on another device."""
        others = (self.reject_probs, self.background_probs)
        return ClassScores(self.probs.to(device), *(None if tensor is None else tensor.to(device) for tensor in others))

    @classmethod
    def from_log_probs(
        cls, log_probs: Tensor, num_categories: int, num_rejecting: int = 0, num_background: int = 0
    ) -> ClassScores:
        """Split the columns of `class_log_probs`.

        Args:
            log_probs: (Q, C) float: categories, background prompts, columns that reject, further columns, which only
                take their share of the softmax.
            num_categories: K.
            num_rejecting: columns after the background prompts that can reject a proposal; the largest of them counts.
            num_background: N.

        Raises:
            ValueError: there are no categories, or too few columns.
        """
        first = num_categories + num_background
        if num_categories < 1 or first + num_rejecting > log_probs.shape[-1]:
            raise ValueError(
                f"Expected at least one category and at least {first} + {num_rejecting} columns, got "
                f"{log_probs.shape[-1]} columns and {num_categories} categories."
            )
        return cls(
            log_probs[:, :num_categories].exp(),
            log_probs[:, first : first + num_rejecting].amax(dim=1).exp() if num_rejecting else None,
            log_probs[:, num_categories:first].exp() if num_background else None,
        )


def class_log_probs(class_logits: Tensor, object_scores: Tensor | None = None) -> Tensor:
    """Log-softmax over all columns, plus the log of the object score.

    MasQCLIP: p_cls = p_obj * p_clip, i.e. log p_obj + log-softmax over the K categories and "background". Without the
    background column the probabilities of a proposal sum to less than 1; they are not normalized again.
    MaskCLIP (Ding et al., Sec. 3): log-softmax over the columns, no object score.

    Args:
        class_logits: (..., Q, C) float, already multiplied by the logit scale.
        object_scores: (..., Q) in [0, 1], p_obj; None: no object score.

    Returns:
        (..., Q, C) float32, at most 0; -inf where the object score is 0.

    Raises:
        ValueError: shapes disagree, or there are no columns.
    """
    if class_logits.dim() < 2 or class_logits.shape[-1] == 0:
        raise ValueError(f"class_logits must have shape (..., Q, C) with C > 0, got {tuple(class_logits.shape)}.")
    log_probs = torch.log_softmax(class_logits.float(), dim=-1)
    if object_scores is None:
        return log_probs
    if object_scores.shape != class_logits.shape[:-1]:
        raise ValueError(
            f"object_scores must have shape {tuple(class_logits.shape[:-1])} to go with class_logits of shape "
            f"{tuple(class_logits.shape)}, got {tuple(object_scores.shape)}."
        )
    return log_probs + object_scores.float().log()[..., None]
