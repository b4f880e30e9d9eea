"""Losses of Mask2Former's set criterion: images without targets, weights, order of random points."""

import copy
import pickle

import pytest
import torch

from masqclip_d2.losses.criterion import SetCriterion, uncertain_points
from masqclip_d2.losses.matcher import HungarianMatcher, draw_uniform_points

WEIGHTS = {"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}


def _criterion(num_classes=1, no_object_weight=0.1, aux_weights=WEIGHTS, draw_points=draw_uniform_points):
    return SetCriterion(
        num_classes=num_classes,
        matcher=HungarianMatcher(class_weight=2.0, mask_weight=5.0, dice_weight=5.0, num_points=32),
        weights=WEIGHTS,
        aux_weights=aux_weights,
        no_object_weight=no_object_weight,
        num_points=32,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        draw_points=draw_points,
    )


def _outputs(batch=2, queries=4, num_classes=1, aux=1):
    def one():
        return {
            "pred_logits": torch.randn(batch, queries, num_classes + 1, requires_grad=True),
            "pred_masks": torch.randn(batch, queries, 8, 8, requires_grad=True),
        }

    return {**one(), "aux_outputs": [one() for _ in range(aux)]}


def _targets(*counts, size=32):
    return [{"labels": torch.zeros(n, dtype=torch.int64), "masks": torch.rand(n, size, size) > 0.5} for n in counts]


@pytest.mark.parametrize("counts", [(2, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("no_object_weight", [0.1, 0.0])
def test_images_without_targets(counts, no_object_weight):
    outputs = _outputs()
    losses = _criterion(no_object_weight=no_object_weight)(outputs, _targets(*counts))
    total = sum(losses.values())
    assert torch.isfinite(total)
    # Every prediction is part of the graph, since DistributedDataParallel waits for every gradient.
    total.backward()
    for output in (outputs, *outputs["aux_outputs"]):
        assert all(torch.isfinite(tensor.grad).all() for tensor in (output["pred_logits"], output["pred_masks"]))
    if sum(counts) == 0:
        assert losses["loss_mask"] == 0 and losses["loss_dice"] == 0


@pytest.mark.parametrize("num_classes", [1, 5])
def test_number_of_classes_can_come_from_the_logits(num_classes):
    outputs, targets = _outputs(num_classes=num_classes), _targets(2, 3)
    for target in targets:
        target["labels"] = torch.randint(0, num_classes, target["labels"].shape)
    losses = []
    for criterion in (_criterion(num_classes), _criterion(None)):
        torch.manual_seed(0)
        losses.append(criterion(outputs, targets))
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
    assert _criterion(None).state_dict() == {}


def test_a_perfect_prediction_has_no_loss():
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[:, :16] = True
    targets = [{"labels": torch.tensor([0]), "masks": masks}]
    pred_masks = torch.full((1, 2, 32, 32), -50.0)
    pred_masks[:, 1, :16] = 50.0
    pred_logits = torch.tensor([[[-50.0, 50.0], [50.0, -50.0]]])
    points = iter([torch.rand(1, 32, 2), torch.rand(1, 96, 2), torch.rand(1, 8, 2)])

    def at_pixel_centers(num_sets, num_points, device):
        return ((next(points) * 32).floor() + 0.5) / 32  # away from the border and the edge, which are blended

    criterion = _criterion(draw_points=at_pixel_centers)
    losses = criterion({"pred_logits": pred_logits, "pred_masks": pred_masks}, targets)
    for name, loss in losses.items():
        assert abs(float(loss)) < 1e-5, name


def test_class_loss_is_the_weighted_mean():
    pred_logits = torch.randn(1, 3, 2)
    pred_masks = torch.zeros(1, 3, 8, 8)
    criterion = _criterion(no_object_weight=0.25)
    [(query, _)] = criterion.matcher(
        pred_logits, pred_masks, _flat(targets := _targets(1)), draw_uniform_points
    )  # equal masks: the class decides, for any points
    losses = criterion.unweighted({"pred_logits": pred_logits, "pred_masks": pred_masks}, targets)
    nll = -pred_logits[0].log_softmax(-1)
    weight, classes = torch.full((3,), 0.25), torch.ones(3, dtype=torch.int64)
    weight[query], classes[query] = 1.0, 0
    expected = (weight * nll.gather(1, classes[:, None])[:, 0]).sum() / 1.5
    torch.testing.assert_close(losses["loss_ce"], expected)


def _flat(targets):
    from masqclip_d2.losses.matcher import FlatTargets

    return FlatTargets.from_list(targets, num_classes=1)


def test_padding_queries_are_ignored():
    outputs, targets, criterion = _outputs(aux=1), _targets(2, 1), _criterion(no_object_weight=0.25)
    for target in targets:
        target["masks"] = torch.arange(32).expand(len(target["masks"]), 32, 32) < 16

    def losses(outputs):
        torch.manual_seed(1)
        return criterion(outputs, targets)

    def filled_up(output):
        fits = torch.where(torch.arange(8) < 4, 20.0, -20.0).expand(2, 1, 8, 8)  # better than any query
        masks = torch.cat([output["pred_masks"], fits], dim=1)
        return {"pred_logits": torch.nn.functional.pad(output["pred_logits"], (0, 0, 0, 1)), "pred_masks": masks}

    longer = {**filled_up(outputs), "aux_outputs": [filled_up(aux) for aux in outputs["aux_outputs"]]}
    expected, ignoring = losses(outputs), losses({**longer, "num_queries": [4, 4]})
    for name, loss in expected.items():
        torch.testing.assert_close(ignoring[name], loss)
        assert abs(losses(longer)[name] - loss) > 1e-3, name


def test_weights_choose_the_losses():
    outputs, targets = _outputs(aux=2), _targets(2, 1)
    names = set(_criterion(aux_weights={"loss_mask": 5.0, "loss_dice": 5.0})(outputs, targets))
    assert names == {*WEIGHTS, "loss_mask_0", "loss_dice_0", "loss_mask_1", "loss_dice_1"}
    assert set(_criterion(aux_weights={})(outputs, targets)) == set(WEIGHTS)


def test_random_points_are_drawn_in_the_published_order():
    drawn = []

    def record(num_sets, num_points, device):
        drawn.append((num_sets, num_points))
        return draw_uniform_points(num_sets, num_points, device)

    _criterion(draw_points=record)(_outputs(aux=1), _targets(2, 0))
    assert drawn == 2 * [(1, 32), (1, 32), (2, 96), (2, 8)]  # matcher per image, candidates, free points


def test_number_of_masks_is_averaged_over_processes(monkeypatch):
    def loss_mask():
        torch.manual_seed(1)
        return _criterion().unweighted(_outputs(), _targets(2, 1))["loss_mask"]

    alone = loss_mask()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: total.add_(9))  # the other process has 9 masks
    torch.testing.assert_close(loss_mask(), alone * 3 / 6)


def test_uncertain_points_are_where_the_logit_is_near_zero():
    logits = torch.linspace(-10, 10, 64).expand(1, 1, 4, -1)  # zero at x = 0.5
    points = uncertain_points(logits, num_points=100, oversample_ratio=3.0, importance_sample_ratio=0.75)
    assert points.shape == (1, 100, 2)
    distance = (points[0, :, 0] - 0.5).abs()
    # A quarter of the candidates within 1/8; rows near the border are blended with zeros and count as uncertain too.
    inner = (points[0, :75, 1] > 0.125) & (points[0, :75, 1] < 0.875)
    assert distance[:75][inner].max() < 0.2
    assert distance[75:].max() > 0.3


def test_a_head_with_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="for 1 classes .* has 4 class logits.*NUM_CLASSES"):
        _criterion()(_outputs(num_classes=3), _targets(1, 1))


def test_from_config(tiny_cfg):
    tiny_cfg.MODEL.MASK_FORMER.DEEP_SUPERVISION = False
    criterion = SetCriterion(tiny_cfg)
    torch.testing.assert_close(criterion.empty_weight, torch.tensor([1.0, 0.1]))
    assert list(criterion.state_dict()) == ["empty_weight"]  # in published checkpoints
    assert criterion.aux_weights == {} and criterion.weights == WEIGHTS


@pytest.mark.parametrize("num_classes", [1, None])
def test_criterion_can_be_pickled_and_copied(num_classes):
    criterion, outputs, targets = _criterion(num_classes=num_classes), _outputs(aux=1), _targets(2, 1)
    torch.manual_seed(1)
    expected = criterion(outputs, targets)
    for same in (pickle.loads(pickle.dumps(criterion)), copy.deepcopy(criterion)):
        torch.manual_seed(1)
        assert all(torch.equal(loss, expected[name]) for name, loss in same(outputs, targets).items())
