"""torchvision's Mask R-CNN with a feature pyramid, both versions, on a Detectron2 backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from detectron2.modeling import Backbone
from torch import Tensor, nn

VERSIONS = ("v1", "v2")
_ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width of anchors, as in torchvision and Detectron2's R50-FPN
_BOX_SIDE, _MASK_SIDE = 7, 14  # cells of the pooled regions of box and mask head


def build_mask_rcnn(
    body: Backbone,
    *,
    version: str = "v1",
    num_classes: int,
    channels: int,
    box_head_dim: int,
    anchor_sizes: Sequence[int],
    rois_per_image: int,
    score_threshold: float,
    max_proposals: int,
) -> nn.Module:
    """torchvision's `MaskRCNN` on a Detectron2 backbone, randomly initialized.

    With `TorchvisionResNet` of depth 50 and torchvision's sizes, names and shapes are those of its
    `maskrcnn_resnet50_fpn` ("v1") and `maskrcnn_resnet50_fpn_v2` ("v2"), whose backbones have the norms "FrozenBN" and
    "BN". Other thresholds and sampling parameters are torchvision's defaults.

    Args:
        body: backbone with the levels of the pyramid, finest first.
        version: "v2" has batch norm in the pyramid and the heads, a second convolution in the region proposal network,
            and four convolutions and a linear layer instead of two linear layers in the box head.
        num_classes: K, with the background.
        channels: channels of pyramid, region proposal network and heads.
        box_head_dim: width of the linear layers of the box head.
        anchor_sizes: in pixels, one for each level and one for half the resolution of the coarsest.
        rois_per_image: regions per image in the losses of the heads.
        score_threshold: smallest object score of a proposal, in [0, 1].
        max_proposals: largest Q.

    Raises:
        ValueError: the version is unknown, or the number of anchor sizes does not match the levels.
    """
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
    from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
    from torchvision.ops import MultiScaleRoIAlign

    if version not in VERSIONS:
        raise ValueError(
            f"MODEL.MASQCLIP.PROPOSER.MASK_RCNN.VERSION is {version!r}; expected one of {', '.join(VERSIONS)}."
        )
    backbone = _FeaturePyramid(body, channels, nn.BatchNorm2d if version == "v2" else None)
    if len(anchor_sizes) != len(backbone.names) + 1:
        raise ValueError(
            f"MODEL.MASQCLIP.PROPOSER.MASK_RCNN.ANCHOR_SIZES has {len(anchor_sizes)} sizes; {type(body).__name__} has "
            f"{len(backbone.names)} levels, which need {len(backbone.names) + 1}."
        )
    box_pool, mask_pool = (
        MultiScaleRoIAlign(featmap_names=backbone.names, output_size=side, sampling_ratio=2)
        for side in (_BOX_SIDE, _MASK_SIDE)
    )
    return MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(
            tuple((size,) for size in anchor_sizes), (_ASPECT_RATIOS,) * len(anchor_sizes)
        ),
        box_roi_pool=box_pool,
        box_predictor=FastRCNNPredictor(box_head_dim, num_classes),
        box_batch_size_per_image=rois_per_image,
        box_score_thresh=score_threshold,
        box_detections_per_img=max_proposals,
        mask_roi_pool=mask_pool,
        mask_predictor=MaskRCNNPredictor(channels, channels, num_classes),
        **_heads(version, channels, box_head_dim),
    )


def _heads(version: str, channels: int, box_head_dim: int) -> dict[str, Any]:
    """Arguments `rpn_head`, `box_head` and `mask_head` of torchvision's `MaskRCNN`."""
    from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
    from torchvision.models.detection.rpn import RPNHead

    norm_layer, four = (nn.BatchNorm2d if version == "v2" else None), (channels,) * 4
    if version == "v2":
        size = (channels, _BOX_SIDE, _BOX_SIDE)
        box_head: nn.Module = FastRCNNConvFCHead(size, list(four), [box_head_dim], norm_layer=norm_layer)
    else:
        box_head = TwoMLPHead(channels * _BOX_SIDE**2, box_head_dim)
    return {
        "rpn_head": RPNHead(channels, len(_ASPECT_RATIOS), conv_depth=2 if version == "v2" else 1),
        "box_head": box_head,
        "mask_head": MaskRCNNHeads(channels, four, dilation=1, norm_layer=norm_layer),
    }


class _FeaturePyramid(nn.Module):
    """Detectron2 backbone (`body`) with torchvision's feature pyramid (`fpn`)."""

    def __init__(self, body: Backbone, channels: int, norm_layer: type[nn.Module] | None) -> None:
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        super().__init__()
        shapes = body.output_shape().values()
        self.body = body
        self.fpn = FeaturePyramidNetwork(
            [shape.channels or 0 for shape in shapes], channels, LastLevelMaxPool(), norm_layer
        )
        self.names = [str(index) for index in range(len(shapes))]
        self.out_channels = channels  # read by torchvision

    def forward(self, batch: Tensor) -> OrderedDict[str, Tensor]:
        """(B, 3, H, W) -> "0" (B, C, H / 4, W / 4), "1" and so on, then "pool" with half the last resolution."""
        return self.fpn(OrderedDict(zip(self.names, self.body(batch).values(), strict=True)))
