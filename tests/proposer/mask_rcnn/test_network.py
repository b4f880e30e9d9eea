"""Both versions of Mask R-CNN are torchvision's: names, shapes, and the detections of its models on random weights."""

import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2

from masqclip_d2.checkpoint import load_strict
from masqclip_d2.config import load_config
from masqclip_d2.proposer import MaskRcnnProposer
from masqclip_d2.proposer.mask_rcnn.box_masks import paste_box_masks
from tests.helpers import random_image

FUNCTIONS = {"v1": maskrcnn_resnet50_fpn, "v2": maskrcnn_resnet50_fpn_v2}


def proposer_of(version, *opts):
    version_key = "MODEL.MASQCLIP.PROPOSER.MASK_RCNN.VERSION"
    return MaskRcnnProposer(load_config("coco/teacher_mask_rcnn_r50", [version_key, version, *opts]))


def test_names_and_shapes_of_the_second_version():
    with torch.device("meta"):
        reference = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=91)
        classes = ["MODEL.MASQCLIP.PROPOSER.MASK_RCNN.NUM_CLASSES", "91"]
        proposer = proposer_of("v2", *classes, "MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", "0")
    expected = {name: value.shape for name, value in reference.state_dict().items()}
    assert {name: value.shape for name, value in proposer.state_dict().items()} == expected
    assert {"rpn.head.conv.1.0.weight", "roi_heads.box_head.3.0.weight", "roi_heads.box_head.5.weight"} < set(expected)


@pytest.mark.parametrize(("version", "norm"), [("v1", "BN"), ("v2", "FrozenBN")])
def test_detections_are_those_of_torchvision(version, norm):
    """A file of torchvision's model is loaded; with one label its suppression of duplicates is the same as ours.

    The norms of the backbone may be frozen ones, since a proposer is in eval mode.
    """
    torch.manual_seed(0)
    reference = FUNCTIONS[version](
        weights=None, weights_backbone=None, num_classes=2, min_size=64, max_size=96, rpn_post_nms_top_n_test=50
    ).eval()
    with torch.no_grad():
        for name, module in reference.named_modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.fill_(0.2 if name.endswith("bn3") else 1.0)  # else features grow from block to block
        torch.nn.init.normal_(reference.roi_heads.box_predictor.cls_score.weight, std=0.2)  # scores that differ
    reference.roi_heads.nms_thresh = 0.8
    reference.transform.postprocess = lambda detections, *_: detections  # masks as the head gives them
    image = random_image(64, 96)
    proposer = proposer_of(version, "MODEL.RESNETS.NORM", norm).eval()
    load_strict(proposer, reference.state_dict(), "mask_rcnn.pth")
    proposer.rpn._post_nms_top_n, proposer.roi_heads.nms_thresh = reference.rpn._post_nms_top_n, 0.8
    with torch.no_grad():
        [expected] = reference([image / 255])
        [found] = proposer.propose([{"image": image}])
    assert len(found) == len(expected["scores"]) == 50
    torch.testing.assert_close(found.object_scores, expected["scores"], rtol=1e-4, atol=1e-5)
    masks = paste_box_masks(expected["masks"][:, 0], expected["boxes"], (64, 96))
    torch.testing.assert_close(found.mask_logits, masks, rtol=1e-3, atol=1e-3)


def test_unknown_version():
    with pytest.raises(ValueError, match="MASK_RCNN.VERSION is 'v3'; expected one of v1, v2"):
        proposer_of("v3")
