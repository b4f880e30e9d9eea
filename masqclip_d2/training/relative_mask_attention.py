"""Stage `rma` (MaskCLIP, Sec. 3.3 and 4.1): the loss that Relative Mask Attention learns from.

2 CE + 5 dice + 5 BCE on the class and the last refined mask of each matched proposal, and the mask terms again on the
masks of every earlier layer that refines. A proposal without a match adds nothing to the class loss.

Differs from the published code, whose list of refined masks holds the last one every time: here, as in the paper, each
layer has its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..proposer.criterion import SetCriterion
from ..proposer.matcher import HungarianMatcher
from ..visual_encoder.mask_class_tokens import MaskEmbeddings


def rma_criterion(cfg, num_classes: int) -> SetCriterion:
    """The set criterion of this stage for K categories, from MODEL.MASK_FORMER.* and MODEL.MASQCLIP.RMA.*."""
    former = cfg.MODEL.MASK_FORMER
    weights = {"loss_ce": former.CLASS_WEIGHT, "loss_mask": former.MASK_WEIGHT, "loss_dice": former.DICE_WEIGHT}
    return SetCriterion(
        num_classes=num_classes,
        matcher=HungarianMatcher(
            class_weight=former.CLASS_WEIGHT,
            mask_weight=former.MASK_WEIGHT,
            dice_weight=former.DICE_WEIGHT,
            num_points=former.TRAIN_NUM_POINTS,
        ),
        weights=weights,
        aux_weights={name: weight for name, weight in weights.items() if name != "loss_ce"},
        no_object_weight=cfg.MODEL.MASQCLIP.RMA.NO_OBJECT_WEIGHT,
        num_points=former.TRAIN_NUM_POINTS,
        oversample_ratio=former.OVERSAMPLE_RATIO,
        importance_sample_ratio=former.IMPORTANCE_SAMPLE_RATIO,
    )


def rma_losses(
    criterion: SetCriterion,
    encoded: MaskEmbeddings,
    class_logits: Tensor,
    mask_logits: Tensor,
    targets: Sequence[dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Weighted losses of a batch.

    Args:
        criterion: `rma_criterion`.
        encoded: of the visual encoder.
        class_logits: (B, Q, K + 1) of its mask embeddings, extra class last.
        mask_logits: (B, Q, R, R) that entered the encoder; used where no layer refines.
        targets: see `encoder_targets`.
    """
    *earlier, last = encoded.refined_mask_logits or (mask_logits,)
    outputs = {
        "pred_logits": class_logits,
        "pred_masks": last,
        "aux_outputs": [{"pred_logits": class_logits, "pred_masks": masks} for masks in earlier],
    }
    losses = criterion(outputs, targets)
    if encoded.refined_mask_logits:
        return losses
    return {"loss_ce": losses["loss_ce"]}  # masks that nothing refines have nothing to learn
