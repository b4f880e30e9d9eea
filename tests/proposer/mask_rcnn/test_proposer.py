"""Class-agnostic Mask R-CNN: equal to torchvision's, without duplicate detections, independent of the other images."""

import pytest
import torch
from detectron2.modeling import build_backbone

from masqclip_d2.config import load_config
from masqclip_d2.proposer import MaskRcnnProposer, TorchvisionResNet
from masqclip_d2.proposer.mask_rcnn.network import build_mask_rcnn
from tests.helpers import TINY_MASK_RCNN, TINY_PROPOSER, random_image

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def tiny(*opts):
    return load_config("base/shapes", [*TINY_PROPOSER, *TINY_MASK_RCNN, *opts])


def make(*opts):
    torch.manual_seed(0)
    proposer = MaskRcnnProposer(tiny(*opts)).eval()
    torch.nn.init.normal_(proposer.roi_heads.box_predictor.cls_score.weight, std=0.5)  # scores that differ
    return proposer


def set_scores(proposer, *logits):
    """Set the class logits of every region."""
    predictor = proposer.roi_heads.box_predictor
    torch.nn.init.zeros_(predictor.cls_score.weight)
    predictor.cls_score.bias.data = torch.tensor(logits)


def records(*sizes):
    return [{"image": random_image(*hw, seed)} for seed, hw in enumerate(sizes)]


def assert_same(one, other):
    assert (one.image_hw, one.padded_hw) == (other.image_hw, other.padded_hw)
    torch.testing.assert_close(one.object_scores, other.object_scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.mask_logits, other.mask_logits, rtol=1e-3, atol=1e-3)


def test_boxes_scores_and_masks_are_those_of_torchvision():
    """Detections equal those of torchvision's forward on an image that needs no resizing."""
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    from masqclip_d2.proposer.mask_rcnn.box_masks import paste_box_masks

    torch.manual_seed(0)
    cfg = tiny()
    sizes = cfg.MODEL.MASQCLIP.PROPOSER.MASK_RCNN
    network = build_mask_rcnn(
        build_backbone(cfg),
        num_classes=2,
        channels=sizes.CHANNELS,
        box_head_dim=sizes.BOX_HEAD_DIM,
        anchor_sizes=sizes.ANCHOR_SIZES,
        rois_per_image=16,
        score_threshold=0.05,
        max_proposals=20,
    ).eval()
    torch.nn.init.normal_(network.roi_heads.box_predictor.cls_score.weight, std=0.5)
    image = random_image(72, 90)
    network.transform = GeneralizedRCNNTransform(72, 90, [m / 255 for m in MEAN], [s / 255 for s in STD])
    network.transform.postprocess = lambda detections, *_: detections  # masks as the head gives them
    with torch.no_grad():
        [expected] = network([image / 255])
    proposer = MaskRcnnProposer(network=network, pixel_mean=MEAN, pixel_std=STD, size_divisibility=32)
    [found] = proposer.propose([{"image": image}])
    assert len(found) > 5
    torch.testing.assert_close(found.object_scores, expected["scores"], rtol=1e-4, atol=1e-5)
    masks = paste_box_masks(expected["masks"][:, 0], expected["boxes"], (96, 96))
    torch.testing.assert_close(found.mask_logits, masks, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("num_classes", [2, 91])
def test_names_and_shapes_are_those_of_torchvision(num_classes):
    from torchvision.models.detection import maskrcnn_resnet50_fpn
    from torchvision.ops import FrozenBatchNorm2d

    with torch.device("meta"):
        reference = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=num_classes)
        opts = ["MODEL.MASQCLIP.PROPOSER.MASK_RCNN.NUM_CLASSES", str(num_classes)]
        proposer = MaskRcnnProposer(load_config("coco/teacher_mask_rcnn_r50", opts))
        assert set(FrozenBatchNorm2d(2).state_dict()) == {"weight", "bias", "running_mean", "running_var"}
    expected = {name: tuple(v.shape) for name, v in reference.state_dict().items() if "num_batches" not in name}
    assert {name: tuple(value.shape) for name, value in proposer.state_dict().items()} == expected


def test_batch_of_differing_sizes_equals_one_by_one():
    proposer = make()
    batch = records((40, 70), (64, 64), (33, 96), (64, 50))
    for record, found in zip(batch, proposer.propose(batch), strict=True):
        assert len(found)
        assert_same(found, proposer.propose([record])[0])


def test_the_first_image_does_not_affect_the_next():
    """torchvision would infer the feature strides from the first image, which may be one pixel."""
    fresh, used = make(), make()
    [pixel] = used.propose(records((1, 1)))
    assert pixel.mask_logits.shape[1:] == (32, 32) and (pixel.image_hw, pixel.padded_hw) == ((1, 1), (32, 32))
    assert ((pixel.object_scores >= 0) & (pixel.object_scores <= 1)).all()
    assert not (pixel.mask_logits > 0)[:, 1:].any() and not (pixel.mask_logits > 0)[:, :, 1:].any()
    assert_same(used.propose(records((64, 80)))[0], fresh.propose(records((64, 80)))[0])


def test_masks_cover_the_padded_frame_and_stay_in_the_image():
    [found] = make().propose(records((40, 70)))
    assert found.mask_logits.shape[1:] == found.padded_hw == (64, 96)
    assert (found.mask_logits[:, 40:] < -9.9).all() and (found.mask_logits[:, :, 70:] < -9.9).all()
    assert (found.object_scores[:-1] >= found.object_scores[1:]).all()


def test_padding_of_the_batch():
    found = make("MODEL.MASQCLIP.PADDING", "batch").propose(records((40, 70), (65, 20)))
    assert [proposals.padded_hw for proposals in found] == [(96, 96), (96, 96)]
    assert [proposals.image_hw for proposals in found] == [(40, 70), (65, 20)]


def test_object_score_is_the_probability_of_the_best_class():
    proposer = make("MODEL.MASQCLIP.PROPOSER.MASK_RCNN.NUM_CLASSES", "4")
    set_scores(proposer, 2.0, 0.0, 1.0, -1.0)
    [found] = proposer.propose(records((64, 64)))
    expected = torch.tensor([2.0, 0.0, 1.0, -1.0]).softmax(0)[2]
    assert len(found)
    torch.testing.assert_close(found.object_scores, expected.expand(len(found)))


def test_an_object_is_proposed_once_for_all_labels():
    proposer = make("MODEL.MASQCLIP.PROPOSER.MASK_RCNN.NUM_CLASSES", "4")
    boxes = torch.tensor([[0, 0, 20, 20], [0, 2, 20, 20], [30, 0, 60, 20], [5, 5, 5, 9], [0, 0, 9, 9]]).float()
    scores, labels = torch.tensor([0.6, 0.9, 0.7, 0.8, 0.01]), torch.tensor([1, 2, 1, 3, 3])
    # The second is better than the first, the third is clipped, the fourth is empty, the fifth hardly an object.
    kept, kept_scores, kept_labels = proposer._filtered(boxes, scores, labels, (64, 50))
    assert kept.tolist() == [[0, 2, 20, 20], [30, 0, 50, 20]]
    assert kept_scores.tolist() == scores[1:3].tolist() and kept_labels.tolist() == [2, 1]


def test_no_proposals():
    proposer = make()
    set_scores(proposer, 10.0, 0.0)
    for found in proposer.propose(records((40, 40), (64, 90))):
        assert len(found) == 0 and found.mask_logits.shape == (0, *found.padded_hw)


def test_proposals_below_the_score_threshold_are_dropped():
    [found] = make().propose(records((64, 64)))
    threshold = found.object_scores.median().item()
    [kept] = make("MODEL.MASQCLIP.PROPOSER.MASK_RCNN.SCORE_THRESHOLD", str(threshold)).propose(records((64, 64)))
    assert 0 < len(kept) < len(found) and kept.object_scores.min() > threshold


def test_the_number_of_proposals_is_limited():
    proposer = make("TEST.DETECTIONS_PER_IMAGE", "3")
    [found] = proposer.propose(records((64, 64)))
    assert len(found) == 3


def test_lower_precision_does_not_move_the_boxes():
    """Coordinates stay float32 with bfloat16 features; beyond 256 pixels bfloat16 has even integers only."""
    proposer = make()
    for head in (proposer.rpn.head.cls_logits, proposer.rpn.head.bbox_pred, proposer.roi_heads.box_predictor.bbox_pred):
        torch.nn.init.zeros_(head.weight)  # all anchors tie, and stay where they are
    mask_logits = proposer.roi_heads.mask_predictor.mask_fcn_logits
    torch.nn.init.zeros_(mask_logits.weight)
    mask_logits.bias.data.fill_(10.0)
    set_scores(proposer, 0.0, 1.0)
    [expected] = proposer.propose(records((64, 600)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        [found] = proposer.propose(records((64, 600)))
    assert found.mask_logits.dtype == found.object_scores.dtype == torch.float32
    assert (expected.mask_logits[:, :, 300:600] > 0).any()
    assert torch.equal(found.mask_logits, expected.mask_logits)


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match="Image 1 has shape .*expected \\(3, H, W\\)"):
        make().propose([*records((8, 8)), {"image": torch.zeros(1, 8, 8)}])


def test_anchor_sizes_must_match_the_levels():
    with pytest.raises(ValueError, match="ANCHOR_SIZES has 3 sizes; TinyBackbone has 4 levels, which need 5"):
        make("MODEL.MASQCLIP.PROPOSER.MASK_RCNN.ANCHOR_SIZES", "[8, 16, 32]")


def test_resnet_shapes_and_frozen_parts():
    backbone = TorchvisionResNet(depth=18, freeze_at=2, norm="FrozenBN", frozen_bn_eps=0.0)
    features = backbone(torch.randn(1, 3, 64, 96))
    for name, spec in backbone.output_shape().items():
        assert features[name].shape == (1, spec.channels, 64 // spec.stride, 96 // spec.stride)
    learned = {name.split(".")[0] for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert learned == {"layer2", "layer3", "layer4"}
    assert {module.eps for module in backbone.modules() if hasattr(module, "running_var")} == {0.0}


def test_resnet_with_trainable_norm_keeps_the_statistics_of_frozen_parts():
    backbone = TorchvisionResNet(depth=18, freeze_at=1, norm="BN").train()
    backbone(torch.randn(2, 3, 64, 64))
    counts = {name for name, value in backbone.state_dict().items() if "num_batches" in name and value == 1}
    assert not any(name.startswith("bn1") for name in counts) and "layer1.0.bn1.num_batches_tracked" in counts


def test_unknown_depth():
    with pytest.raises(ValueError, match="DEPTH is 20; torchvision has 18, 34"):
        TorchvisionResNet(depth=20, freeze_at=0, norm="FrozenBN")
