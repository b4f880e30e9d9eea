import pytest
import torch

from masqclip_d2.losses.criterion import SetCriterion
from masqclip_d2.proposer import Mask2FormerProposer
from masqclip_d2.proposer.mask2former.proposer import object_scores


def _records(*sizes):
    return [{"image": torch.rand(3, *hw) * 255} for hw in sizes]


@pytest.fixture
def proposer(tiny_cfg):
    return Mask2FormerProposer(tiny_cfg).eval()


def test_batch_of_different_sizes_equals_one_by_one(proposer):
    records = _records((40, 70), (64, 64), (33, 96), (64, 50))
    together = proposer.propose(records)
    for record, found in zip(records, together, strict=True):
        [alone] = proposer.propose([record])
        assert (found.image_hw, found.padded_hw) == (alone.image_hw, alone.padded_hw)
        torch.testing.assert_close(found.mask_logits, alone.mask_logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.object_scores, alone.object_scores, rtol=1e-4, atol=1e-5)


def test_batch_padding_covers_the_largest_image(tiny_cfg):
    tiny_cfg.MODEL.MASQCLIP.PADDING = "batch"
    found = Mask2FormerProposer(tiny_cfg).eval().propose(_records((40, 70), (65, 20)))
    assert [proposals.padded_hw for proposals in found] == [(96, 96), (96, 96)]
    assert [proposals.image_hw for proposals in found] == [(40, 70), (65, 20)]


def test_one_pixel_image(proposer):
    [found] = proposer.propose(_records((1, 1)))
    assert found.mask_logits.shape == (8, 8, 8)
    assert (found.image_hw, found.padded_hw) == ((1, 1), (32, 32))
    assert ((found.object_scores >= 0) & (found.object_scores <= 1)).all()


def test_uint8_equals_float(proposer):
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    [as_uint8] = proposer.propose([{"image": image}])
    [as_float] = proposer.propose([{"image": image.float()}])
    assert torch.equal(as_uint8.mask_logits, as_float.mask_logits)


def test_no_images(proposer):
    assert proposer.propose([]) == []


def test_preprocess_normalizes_then_pads_with_zeros(proposer):
    mean_color = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    batch = proposer.preprocess([mean_color.expand(3, 10, 12) + 58.395, mean_color.expand(3, 33, 5)])
    assert batch.shape == (2, 3, 64, 32)
    torch.testing.assert_close(batch[0, 0, :10, :12], torch.ones(10, 12))
    assert batch[0, :, 10:].abs().max() == 0 and batch[0, :, :, 12:].abs().max() == 0
    assert batch[1].abs().max() < 1e-5


def test_wrong_images_are_refused(proposer):
    for shape in [(1, 8, 8), (8, 8), (3, 0, 8)]:
        with pytest.raises(ValueError, match="Image 1 has shape .*expected \\(3, H, W\\)"):
            proposer.propose([*_records((8, 8)), {"image": torch.zeros(shape)}])


def test_unknown_padding_is_refused(tiny_cfg):
    tiny_cfg.MODEL.MASQCLIP.PADDING = "none"
    with pytest.raises(ValueError, match="padding is 'none'; expected one of image, batch"):
        Mask2FormerProposer(tiny_cfg)


def test_object_score_is_one_minus_no_object():
    pred_masks = torch.zeros(1, 2, 4, 4)
    logits = torch.tensor([[[0.2, 0.3, 0.5], [0.1, 0.0, 0.9]]]).log()  # two classes, then no object
    torch.testing.assert_close(object_scores(logits, pred_masks), torch.tensor([[0.5, 0.1]]))
    assert object_scores(None, pred_masks).tolist() == [[1, 1]]


def test_statistics_of_pixels_are_not_saved(proposer):
    assert not any(name.startswith("pixel_") for name in proposer.state_dict())


def test_overfits_one_image(tiny_cfg):
    proposer, criterion = Mask2FormerProposer(tiny_cfg).train(), SetCriterion(tiny_cfg)
    image = torch.full((3, 64, 64), 100.0)
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 8:30, 6:28] = True
    masks[1, 36:60, 30:62] = True
    image[:, masks[0]] = torch.tensor([[250.0], [20.0], [20.0]])
    image[:, masks[1]] = torch.tensor([[20.0], [20.0], [250.0]])
    images, targets = proposer.preprocess([image]), [{"labels": torch.zeros(2, dtype=torch.int64), "masks": masks}]
    optimizer = torch.optim.AdamW(proposer.parameters(), lr=2e-3)
    losses = []
    for _ in range(60):
        loss = sum(criterion(proposer(images), targets).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(proposer.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.25 * losses[0]

    [found] = proposer.eval().propose([{"image": image}])
    best = found.object_scores.topk(2).indices
    predicted = torch.nn.functional.interpolate(found.mask_logits[best][None], (64, 64), mode="bilinear")[0] > 0
    iou = (predicted[:, None] & masks).sum((2, 3)) / (predicted[:, None] | masks).sum((2, 3))
    assert iou.max(0).values.min() > 0.7
