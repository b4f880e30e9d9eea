import pytest
import torch

from masqclip_d2.fusion import ClassScores, OutputMasks, panoptic_inference
from masqclip_d2.ops.panoptic_winners import panoptic_winners

SIZES = {  # low, padded, image, output
    "enlarged, then resized": ((8, 8), (32, 32), (32, 29), (17, 41)),
    "one size": ((5, 3), (5, 3), (5, 3), (5, 3)),
    "reduced twice": ((24, 20), (13, 16), (13, 15), (7, 9)),
    "two tiles and programs of rows": ((3, 40), (3, 40), (2, 40), (18, 140)),
}


def random_inputs(num_masks=7, sizes="enlarged, then resized"):
    torch.manual_seed(0)
    low_hw, *others = SIZES[sizes]
    return torch.rand(num_masks), OutputMasks(4 * torch.randn(num_masks, *low_hw), *others)


def assert_equal(probs, masks):
    found, expected = (panoptic_winners(probs, masks, each) for each in ("triton", "reference"))
    assert [each.dtype for each in found] == [torch.int32] + [torch.int64] * 3
    assert (found[0] != expected[0]).sum() <= 1  # a product or a probability of 0.5 that rounds to the other side
    for areas, others in zip(found[1:], expected[1:], strict=True):
        assert areas.shape == others.shape and (areas - others).abs().sum() <= 2
    return found


@pytest.mark.parametrize("sizes", SIZES)
def test_equals_the_reference(sizes):
    winners, won, _, _ = assert_equal(*random_inputs(sizes=sizes))
    assert won.sum() == winners.numel()


@pytest.mark.parametrize("num_masks", [1, 16, 17, 100, 300])
def test_numbers_of_masks(num_masks):
    assert_equal(*random_inputs(num_masks))


def test_masks_that_are_left_out():
    probs, masks = random_inputs()
    probs[[0, 3]] = -1.0
    assert not any(areas[[0, 3]].any() for areas in assert_equal(probs, masks)[1:])
    winners, *areas = assert_equal(torch.full_like(probs, -1.0), masks)
    assert (winners == 7).all() and not any(each.any() for each in areas)


def test_of_equal_masks_the_first_wins_and_no_masks():
    masks = OutputMasks.of(torch.ones(3, 5, 6))
    winners, won, _, _ = assert_equal(torch.tensor([0.2, 0.5, 0.5]), masks)
    assert (winners == 1).all() and won.tolist() == [0, 30, 0]
    assert_equal(*random_inputs(0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_and_masks_that_are_not_contiguous(dtype):
    probs, masks = random_inputs()
    low = masks.mask_logits.to(dtype).transpose(1, 2).contiguous().transpose(1, 2)
    assert_equal(probs, OutputMasks(low, masks.padded_hw, masks.image_hw, masks.output_hw))


def test_panoptic_inference(monkeypatch):
    probs, masks = random_inputs(12)
    scores = ClassScores(torch.stack([probs, 1 - probs, probs / 2], dim=1))
    results = []
    for implementation in ("triton", "reference"):
        monkeypatch.setenv("MASQCLIP_OPS", implementation)
        results.append(panoptic_inference(scores, masks, (True, True, False), 0.6, 0.1))
    (ids, segments), (expected_ids, expected) = results
    assert (ids == expected_ids).float().mean() > 0.99
    assert len(segments) > 2 and [one["category_id"] for one in segments] == [one["category_id"] for one in expected]


def test_the_operator_is_registered_completely():
    probs, masks = random_inputs(3)
    arguments = (probs, masks.mask_logits, masks.padded_hw, masks.image_hw, masks.output_hw)
    torch.library.opcheck(torch.ops.masqclip.panoptic_winners.default, arguments)
    winners, areas = torch.ops.masqclip.panoptic_winners(*(one.to("meta") for one in arguments[:2]), *arguments[2:])
    assert winners.shape == masks.output_hw and areas.shape == (3, 3) and winners.is_meta


class Winners(torch.nn.Module):
    def forward(self, probs, mask_logits):
        return panoptic_winners(probs, OutputMasks(mask_logits, (32, 32), (32, 29), (17, 41)), "triton")


def test_export_with_any_number_of_masks_and_compile():
    inputs, more = ((probs, masks.mask_logits) for probs, masks in (random_inputs(3), random_inputs(9)))
    masks = torch.export.Dim("masks", min=2, max=500)
    exported = torch.export.export(Winners(), inputs, dynamic_shapes=({0: masks}, {0: masks}))
    torch.testing.assert_close(exported.module()(*more), Winners()(*more))
    compiled = torch.compile(Winners(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), Winners()(*inputs))
