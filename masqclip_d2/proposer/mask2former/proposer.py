"""Mask2Former as class-agnostic proposer: images -> mask proposals (box "proposals" in both papers' figures).

Shape shorthand: B images, Q mask proposals, K classes, H, W pixels of the padded input.
"""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import configurable
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY, Backbone, build_sem_seg_head
from torch import Tensor, nn

from ...structures import MaskProposals
from ...user_code import unknown_name
from ..network_proposer import NetworkProposer, build_named_backbone
from ..registry import PROPOSER_REGISTRY


@PROPOSER_REGISTRY.register()
class Mask2FormerProposer(NetworkProposer):
    """Backbone and `MaskProposalHead`; names in the state dict are those of published checkpoints.

    Proposals are mask logits at a quarter of the padded size; object score = 1 - P(no object) for any number of
    classes, or 1 if the head predicts none. Numbers of classes and queries are those of the weights.

    Args:
        backbone: Detectron2 backbone.
        sem_seg_head: features -> outputs of `MaskDecoder.forward`.
        size_divisibility: see `NetworkProposer`; the backbone may require more.
        inputs: further arguments of `NetworkProposer`.
    """

    network_names = ("backbone", "sem_seg_head")
    sized_by_weights = (r"sem_seg_head\.predictor\.(class_embed|query_feat|query_embed)\.",)

    @configurable
    def __init__(self, *, backbone: Backbone, sem_seg_head: nn.Module, size_divisibility: int, **inputs) -> None:
        # A backbone with 0 or less has no requirement.
        super().__init__(size_divisibility=max(size_divisibility, backbone.size_divisibility, 1), **inputs)
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head

    @classmethod
    def from_config(cls, cfg) -> dict:
        head = cfg.MODEL.SEM_SEG_HEAD.NAME
        if head not in SEM_SEG_HEADS_REGISTRY:
            raise unknown_name("MODEL.SEM_SEG_HEAD.NAME", head, (name for name, _ in SEM_SEG_HEADS_REGISTRY))
        backbone = build_named_backbone(cfg)
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            **cls.input_arguments(cfg),
        }

    def forward(self, images: Tensor) -> dict:
        """Run the network.

        Args:
            images: (B, 3, H, W) float, normalized; H and W are multiples of `size_divisibility` (see `preprocess`).

        Returns:
            "pred_masks" (B, Q, H / 4, W / 4) logits, "pred_logits" (B, Q, K + 1) or None; in training mode also
            "aux_outputs", a list of such dicts for the earlier predictions.
        """
        return self.sem_seg_head(self.backbone(images))

    def predict_masks(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Masks of a batch (B, 3, H, W), result of `preprocess`: logits (B, Q, H / 4, W / 4), object scores (B, Q)."""
        outputs = Mask2FormerProposer.forward(self, batch)  # `forward` of a subclass may take records
        return outputs["pred_masks"], object_scores(outputs["pred_logits"], outputs["pred_masks"])

    def propose_in_batch(self, batch: Tensor, image_hw: Sequence[tuple[int, int]]) -> list[MaskProposals]:
        """See `NetworkProposer.propose_in_batch`."""
        padded_hw = (batch.shape[-2], batch.shape[-1])
        return [
            MaskProposals(mask_logits, of_image, hw, padded_hw)
            for mask_logits, of_image, hw in zip(*self.predict_masks(batch), image_hw, strict=True)
        ]


def object_scores(pred_logits: Tensor | None, pred_masks: Tensor) -> Tensor:
    """p_obj (B, Q) in [0, 1]: 1 - P(no object) for any number of classes K >= 1; ones without class logits."""
    if pred_logits is None:
        return pred_masks.new_ones(pred_masks.shape[:2])
    return 1 - pred_logits.float().softmax(-1)[..., -1]
