"""Stage `rma` (MaskCLIP, Sec. 3.3 and 4.1): the loss of Relative Mask Attention.

2 CE + 5 dice + 5 BCE on the class and the last refined mask of each matched proposal, and the mask terms again on the
masks of every earlier layer that refines. A proposal without a match adds nothing to the class loss.

Differs from the published code, whose list of refined masks repeats the last one: here, as in the paper, each layer has
its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .criterion import SetCriterion


def rma_criterion(cfg) -> SetCriterion:
    """The proposer's criterion for any number of categories, with the weights of this stage.

    Only the mask terms count for earlier layers, and none if no layer refines masks.
    """
    former, rma = cfg.MODEL.MASK_FORMER, cfg.MODEL.MASQCLIP.RMA
    mask_weights = {"loss_mask": former.MASK_WEIGHT, "loss_dice": former.DICE_WEIGHT} if rma.REFINE_MASKS else {}
    return SetCriterion(
        cfg,
        num_classes=None,
        weights={"loss_ce": former.CLASS_WEIGHT, **mask_weights},
        aux_weights=mask_weights,
        no_object_weight=rma.NO_OBJECT_WEIGHT,
    )


def rma_losses(
    criterion: SetCriterion,
    refined_mask_logits: Sequence[Tensor],
    class_logits: Tensor,
    mask_logits: Tensor,
    num_proposals: Sequence[int],
    targets: Sequence[dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Weighted losses of a batch.

    Args:
        criterion: `rma_criterion`.
        refined_mask_logits: (B, Q, R, R) after every layer that refines masks; may be empty.
        class_logits: (B, Q, K + 1) of the mask embeddings, extra class last.
        mask_logits: (B, Q, R, R) that entered the encoder; used if no layer refines.
        num_proposals: of each image; later masks only fill up the batch.
        targets: see `encoder_targets`.
    """
    *earlier, last = refined_mask_logits or (mask_logits,)
    outputs = {
        "pred_logits": class_logits,
        "pred_masks": last,
        "num_queries": num_proposals,
        "aux_outputs": [{"pred_logits": class_logits, "pred_masks": masks} for masks in earlier],
    }
    return criterion(outputs, targets)
