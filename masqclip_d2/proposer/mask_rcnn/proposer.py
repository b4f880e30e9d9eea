"""Class-agnostic Mask R-CNN with a feature pyramid as proposer (MaskCLIP, Sec. 3.1 and 4.2), built on torchvision's.

Network, parameter names and losses are torchvision's, so its released weights load. Selection of boxes and pasting of
masks differ: labels are ignored, an image does not depend on the others of its batch, and inputs are not resized (the
mapper does that).

Shape shorthand: B images, R regions of an image, K classes with background, Q mask proposals, H, W pixels of the padded
input.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import configurable
from torch import Tensor, nn

from ...structures import MaskProposals
from ..network_proposer import NetworkProposer, build_named_backbone
from ..registry import PROPOSER_REGISTRY
from .box_masks import paste_box_masks
from .network import build_mask_rcnn

_SMALLEST_BOX = 1e-2  # pixels; a detection with a shorter side is dropped, as in torchvision


@PROPOSER_REGISTRY.register()
class MaskRcnnProposer(NetworkProposer):
    """Mask R-CNN without its labels; names in the state dict are torchvision's.

    Proposals are mask logits at the padded size (`paste_box_masks`), sorted by object score, which is the highest class
    probability except the background's. Non-maximum suppression (IoU above `roi_heads.nms_thresh`) ignores labels. The
    number of classes is that of the weights.

    Args:
        network: a `torchvision.models.detection.MaskRCNN`; its `transform` is not used.
        inputs: arguments of `NetworkProposer`.
    """

    network_names = ("backbone",)
    sized_by_weights = (r"roi_heads\.(box_predictor\.(cls_score|bbox_pred)|mask_predictor\.mask_fcn_logits)\.",)

    backbone: Any
    rpn: Any
    roi_heads: Any

    @configurable
    def __init__(self, *, network: nn.Module, **inputs) -> None:
        super().__init__(**inputs)
        self.backbone = network.backbone
        self.rpn = network.rpn
        self.roi_heads = network.roi_heads

    @classmethod
    def from_config(cls, cfg) -> dict:
        sizes = cfg.MODEL.MASQCLIP.PROPOSER.MASK_RCNN
        network = build_mask_rcnn(
            build_named_backbone(cfg),
            version=sizes.VERSION,
            num_classes=sizes.NUM_CLASSES,
            channels=sizes.CHANNELS,
            box_head_dim=sizes.BOX_HEAD_DIM,
            anchor_sizes=sizes.ANCHOR_SIZES,
            rois_per_image=sizes.ROIS_PER_IMAGE,
            score_threshold=sizes.SCORE_THRESHOLD,
            max_proposals=cfg.TEST.DETECTIONS_PER_IMAGE,
        )
        return {"network": network, **cls.input_arguments(cfg)}

    def features(self, batch: Tensor) -> OrderedDict[str, Tensor]:
        """Feature pyramid of a padded batch (B, 3, H, W), float32.

        Only this part may run in lower precision: torchvision computes boxes in the dtype of the features, and a
        bfloat16 coordinate of 1000 would be off by up to 4 pixels.
        """
        return OrderedDict((name, feature.float()) for name, feature in self.backbone(batch).items())

    def propose_in_batch(self, batch: Tensor, image_hw: Sequence[tuple[int, int]]) -> list[MaskProposals]:
        """See `NetworkProposer.propose_in_batch`."""
        from torchvision.models.detection.image_list import ImageList

        features = self.features(batch)
        padded_hw = (batch.shape[-2], batch.shape[-1])
        with torch.autocast(batch.device.type, enabled=False):
            regions, _ = self.rpn(ImageList(batch, list(image_hw)), features)
            boxes, scores, labels = zip(*self._detect(features, regions, image_hw, padded_hw), strict=True)
            masks = self._mask_probs(features, boxes, torch.cat(labels), padded_hw)
        return [
            MaskProposals(paste_box_masks(mask_probs, boxes_xyxy, padded_hw), object_scores, hw, padded_hw)
            for mask_probs, boxes_xyxy, object_scores, hw in zip(masks, boxes, scores, image_hw, strict=True)
        ]

    def _detect(
        self,
        features: OrderedDict[str, Tensor],
        regions: Sequence[Tensor],
        image_hw: Sequence[tuple[int, int]],
        padded_hw: tuple[int, int],
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Per image boxes (Q, 4) xyxy, scores (Q,) and labels (Q,) >= 1, sorted by score; `regions` are (R, 4) each."""
        heads = self.roi_heads
        pooled = heads.box_roi_pool(features, regions, [padded_hw])
        class_logits, deltas = heads.box_predictor(heads.box_head(pooled))
        boxes = heads.box_coder.decode(deltas, regions).reshape(*class_logits.shape, 4)  # (all R, K, 4)
        scores, labels = class_logits.softmax(-1)[:, 1:].max(dim=1)
        labels = labels + 1
        boxes = boxes[torch.arange(len(boxes), device=boxes.device), labels]
        counts = [len(of_image) for of_image in regions]
        per_image = zip(boxes.split(counts), scores.split(counts), labels.split(counts), image_hw, strict=True)
        return [self._filtered(*detections) for detections in per_image]

    def _filtered(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, image_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score-filtered, non-empty detections after class-agnostic NMS, clipped to the image."""
        from torchvision.ops import clip_boxes_to_image, nms

        boxes = clip_boxes_to_image(boxes, image_hw)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = ((scores > self.roi_heads.score_thresh) & (sides >= _SMALLEST_BOX).all(dim=1)).nonzero().flatten()
        kept = kept[nms(boxes[kept], scores[kept], self.roi_heads.nms_thresh)][: self.roi_heads.detections_per_img]
        return boxes[kept], scores[kept], labels[kept]

    def _mask_probs(
        self, features: OrderedDict[str, Tensor], boxes: Sequence[Tensor], labels: Tensor, padded_hw: tuple[int, int]
    ) -> tuple[Tensor, ...]:
        """Per image (Q, S, S) in [0, 1]: the mask of each box for its label."""
        heads = self.roi_heads
        pooled = heads.mask_roi_pool(features, boxes, [padded_hw])
        mask_logits = heads.mask_predictor(heads.mask_head(pooled))  # (all Q, K, S, S)
        mask_probs = mask_logits[torch.arange(len(labels), device=labels.device), labels].sigmoid()
        return mask_probs.split([len(of_image) for of_image in boxes])
