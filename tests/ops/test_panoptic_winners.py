from dataclasses import replace

import pytest
import torch

from masqclip_d2.ops.output_masks import OutputMasks
from masqclip_d2.ops.panoptic_winners import fast, panoptic_winners
from tests.fake_gpu import Recorder, fake_gpu

SIZES = ((52, 68), (47, 61), (300, 275))  # padded, image, output


def random_masks(num_masks=12, low_hw=(13, 17), sizes=SIZES, tile_size=20_000):
    return OutputMasks(torch.randn(num_masks, *low_hw) * 3, *sizes, tile_size)


@pytest.mark.parametrize("implementation", ["reference", "torch"])
def test_by_hand(implementation):
    # Pixel 0: 0.9 * sigmoid(1) = 0.66 loses to 0.8. Pixel 1: 0.9 * 0.27 wins, outside of its mask. Pixel 2: left out.
    logits = torch.tensor([[[1.0, -1.0, -10.0]], [[10.0, -10.0, 10.0]], [[10.0, 10.0, 10.0]]])
    winners, won, covered, of_masks = panoptic_winners(
        torch.tensor([0.9, 0.8, -1.0]), OutputMasks.of(logits), implementation
    )
    assert winners.dtype == torch.int32 and winners.tolist() == [[1, 3, 1]]
    assert won.tolist() == [1, 2, 0] and covered.tolist() == [0, 2, 0] and of_masks.tolist() == [1, 2, 0]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("tile_size", [20_000, 10**8], ids=["tiles", "one band"])
def test_torch_implementation_equals_reference(tile_size, asynchronous, monkeypatch):
    monkeypatch.setattr(fast, "is_asynchronous", lambda device: asynchronous)
    torch.manual_seed(0)
    masks, probs = random_masks(tile_size=tile_size), torch.rand(12)
    probs[[2, 7]] = -1
    found, expected = (panoptic_winners(probs, masks, each) for each in ("torch", "reference"))
    assert (found[0] != expected[0]).float().mean() < 1e-4
    for areas, others in zip(found[1:], expected[1:], strict=True):
        assert areas.dtype == torch.int64 and (areas - others).abs().max() <= 5 and areas[2] == areas[7] == 0
    assert found[1].sum() == found[0].numel()
    assert found[2].tolist() == found[0].flatten().bincount(minlength=13)[:-1].tolist()


@pytest.mark.parametrize("implementation", ["reference", "torch"])
def test_no_masks_none_that_takes_part_and_equal_ones(implementation):
    winners, *areas = panoptic_winners(torch.zeros(0), random_masks(0), implementation)
    assert winners.shape == SIZES[2] and not winners.any() and [len(each) for each in areas] == [0, 0, 0]
    winners, *areas = panoptic_winners(torch.full((4,), -1.0), random_masks(4), implementation)
    assert (winners == 4).all() and not any(each.any() for each in areas)
    same = OutputMasks.of(torch.ones(3, 5, 6))
    winners, won, _, _ = panoptic_winners(torch.tensor([0.2, 0.5, 0.5]), same, implementation)
    assert (winners == 1).all() and won.tolist() == [0, 30, 0]


def test_refuses_another_number_of_probabilities():
    with pytest.raises(ValueError, match=r"of 12 masks, got \(11,\)"):
        panoptic_winners(torch.rand(11), random_masks())


def test_areas_of_a_map():
    labels = torch.tensor([[0, 2], [2, 2]], dtype=torch.int32)
    assert fast.label_areas(labels, 4).tolist() == [1, 0, 3, 0]


def test_the_kernel_is_selected_on_a_gpu(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)
    with fake_gpu():
        masks = random_masks()
        masks = replace(masks, mask_logits=masks.mask_logits.cuda())
        probs = torch.rand(12).cuda()
        with Recorder() as recorder:
            winners, *areas = panoptic_winners(probs, masks)
    assert winners.shape == SIZES[2] and [each.shape for each in areas] == [(12,)] * 3
    assert recorder.to_host == recorder.to_gpu == [] and recorder.launches["masqclip.panoptic_winners.default"] == 1
