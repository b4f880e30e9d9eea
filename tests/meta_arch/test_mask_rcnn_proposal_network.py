"""Class-agnostic Mask R-CNN as a model: trains, predicts at the requested size, and is the proposer of other models."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances

from masqclip_d2.engine.trainer import Trainer
from tests.helpers import TINY_MASK_RCNN, five_categories, random_image, tiny_config

LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
AS_PROPOSER = (*TINY_MASK_RCNN, "MODEL.MASQCLIP.PROPOSER.SOURCE", "mask_rcnn")


@pytest.fixture
def network(tmp_path):
    return build_model(tiny_config(tmp_path, "MaskRcnnProposalNetwork", *TINY_MASK_RCNN))


def record(hw, *boxes, seed=0):
    """An image of noise with a bright object in each box (y1, x1, y2, x2), and its annotation."""
    image = random_image(*hw, seed) // 4
    masks = torch.zeros(len(boxes), *hw, dtype=torch.bool)
    for mask, (y1, x1, y2, x2), color in zip(masks, boxes, torch.eye(3)[[0, 2, 1]], strict=False):
        mask[y1:y2, x1:x2] = True
        image[:, mask] = (60 + 190 * color[:, None]).to(torch.uint8)
    return {"image": image, "instances": Instances(hw, gt_masks=BitMasks(masks))}


def test_overfits_two_images(network):
    batch = [record((64, 64), (8, 6, 30, 28), (36, 30, 60, 62)), record((64, 96), (20, 40, 50, 80), seed=1)]
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 120)
    totals = []
    for _ in range(120):
        losses = network(batch)
        assert set(losses) == LOSSES
        optimizer.zero_grad()
        total = sum(losses.values())
        total.backward()
        optimizer.step()
        scheduler.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.4 * totals[0]
    for image, prediction in zip(batch, network.eval()(batch), strict=True):
        truth, proposals = image["instances"].gt_masks.tensor, prediction["proposals"]
        masks = proposals.pred_masks[: len(truth) + 3, None]
        iou = (masks & truth).sum((2, 3)) / (masks | truth).sum((2, 3))
        assert iou.max(dim=0).values.min() > 0.6  # the objects are among the best few proposals
        assert (proposals.scores[:-1] >= proposals.scores[1:]).all()


def test_predictions_have_the_requested_size(network):
    network.eval()
    inputs = [{**record((40, 72)), "height": 55, "width": 31}, record((1, 1))]
    for image, prediction in zip(inputs, network(inputs), strict=True):
        hw = (image.get("height", 1), image.get("width", 1))
        proposals = prediction["proposals"]
        assert proposals.image_size == hw and proposals.pred_masks.shape == (len(proposals), *hw)
        assert proposals.pred_masks.dtype == torch.bool and ((proposals.scores >= 0) & (proposals.scores <= 1)).all()


def test_images_without_objects_teach_what_background_is(network):
    for batch in ([record((48, 48))], [record((48, 48)), record((64, 32), (4, 4, 20, 20))]):
        losses = network.train()(batch)
        assert set(losses) == LOSSES and all(torch.isfinite(loss) for loss in losses.values())
        network.zero_grad()
        sum(losses.values()).backward()
        assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)
        assert float(network.roi_heads.box_predictor.cls_score.bias.grad.abs().sum()) > 0


def test_a_mask_without_a_pixel_is_left_out_and_boxes_end_behind_the_last_pixel(network):
    image = record((32, 40), (3, 5, 9, 21), (4, 4, 4, 4), (31, 39, 32, 40))
    target = network._target(image)
    assert target["boxes"].tolist() == [[5, 3, 21, 9], [39, 31, 40, 32]]
    assert target["labels"].tolist() == [1, 1] and target["masks"].shape == (2, 32, 40)
    assert all(torch.isfinite(loss) for loss in network.train()([image]).values())


def test_training_without_annotation_is_refused(network):
    with pytest.raises(ValueError, match="needs the annotation of photo.jpg"):
        network.train()([{"image": random_image(8, 8), "file_name": "photo.jpg"}])


def test_lower_precision_trains_with_coordinates_in_float32(network):
    """Nothing that is predicted moves a box here, so targets and their losses are a matter of coordinates alone."""
    network.train()
    for head in (network.rpn.head.cls_logits, network.rpn.head.bbox_pred, network.roi_heads.box_predictor.bbox_pred):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    batch = [record((64, 600), (21, 501, 50, 583))]
    torch.manual_seed(0)
    expected = network(batch)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = network(batch)
    for name in ("loss_box_reg", "loss_rpn_box_reg"):
        torch.testing.assert_close(losses[name], expected[name])
    sum(losses.values()).backward()
    assert torch.isfinite(network.backbone.body.res2.conv1.weight.grad).all()


def test_the_first_image_sets_nothing_for_the_next(tmp_path):
    """As at test; the losses of the second batch do not depend on the first."""
    losses = []
    for first in (None, record((20, 40), (4, 4, 16, 30))):
        torch.manual_seed(0)
        network = build_model(tiny_config(tmp_path, "MaskRcnnProposalNetwork", *TINY_MASK_RCNN)).train()
        if first is not None:
            network([first])
        torch.manual_seed(0)
        losses.append(network([record((64, 96), (20, 40, 50, 80))]))
    for name, loss in losses[0].items():
        torch.testing.assert_close(losses[1][name], loss)


@pytest.mark.parametrize("amp", [False, True])
def test_our_trainer_trains_and_evaluates_it_by_recall(tmp_path, mini_shapes, amp):
    opts = (
        "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.STEPS", "()", "DATALOADER.NUM_WORKERS", "0",
        "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "('mini_shapes_val',)",
        "TEST.DETECTIONS_PER_IMAGE", "20", "SOLVER.AMP.ENABLED", str(amp),
    )  # fmt: skip
    cfg = tiny_config(tmp_path, "MaskRcnnProposalNetwork", *TINY_MASK_RCNN, *opts)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    cfg.MODEL.WEIGHTS = str(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    assert {"AR@1", "AR@100"} <= Trainer.evaluate_weights(cfg)["proposals"].keys()


@pytest.mark.parametrize("meta_architecture", ["MaskCLIP", "MasQCLIP", "ClipBaseline"])
def test_other_models_take_it_as_their_proposer(tmp_path, network, meta_architecture):
    from masqclip_d2.checkpoint import StrictCheckpointer

    torch.save({"model": network.state_dict()}, tmp_path / "teacher.pth")
    model = build_model(tiny_config(tmp_path, meta_architecture, *AS_PROPOSER)).eval()
    model.allow_missing = (r"visual_encoder\.", r"text_classifier\.")  # CLIP's numbers are fresh here
    StrictCheckpointer(model).load(str(tmp_path / "teacher.pth"))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in model.proposer.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.proposer.parameters())
    model.set_vocabulary(five_categories())
    records = [{**record((40, 72)), "height": 55, "width": 31}, record((1, 1))]
    for image, prediction in zip(records, model(records), strict=True):
        hw = (image.get("height", 1), image.get("width", 1))
        assert prediction["sem_seg_labels"].shape == prediction["panoptic_seg"][0].shape == hw
        assert torch.isfinite(prediction["sem_seg_confidence"]).all() and prediction["instances"].image_size == hw


def nothing_found(model):
    predictor = model.proposer.roi_heads.box_predictor.cls_score
    torch.nn.init.zeros_(predictor.weight)
    predictor.bias.data = torch.tensor([10.0, 0.0])
    return model


@pytest.mark.parametrize("meta_architecture", ["MaskCLIP", "MasQCLIP", "ClipBaseline"])
def test_an_image_without_proposals_has_no_segments(tmp_path, meta_architecture):
    model = nothing_found(build_model(tiny_config(tmp_path, meta_architecture, *AS_PROPOSER)).eval())
    model.set_vocabulary(five_categories())
    [prediction] = model([{"image": random_image(40, 72)}])
    assert prediction["panoptic_seg"][1] == [] and not prediction["panoptic_seg"][0].any()
    assert len(prediction["instances"]) == 0 and prediction["sem_seg_labels"].shape == (40, 72)


@pytest.mark.parametrize(
    ("meta_architecture", "opts"), [("MaskCLIP", ("MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]")), ("MasQCLIP", ())]
)
@pytest.mark.parametrize("found", [True, False])
def test_stages_train_on_its_proposals(tmp_path, meta_architecture, opts, found):
    """Images have different numbers of proposals, or none at all."""
    model = build_model(tiny_config(tmp_path, meta_architecture, *AS_PROPOSER, *opts)).train()
    if not found:
        nothing_found(model)
    model.set_vocabulary(five_categories())
    batch = [record((64, 96), (20, 40, 50, 80)), record((48, 32), (4, 4, 20, 20))]
    for image in batch:
        image["instances"].gt_classes = torch.tensor([1])
    losses = model(batch)
    assert losses and all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert learned and all(torch.isfinite(p.grad).all() for p in learned if p.grad is not None)
