from dataclasses import replace

import pytest
import torch

from masqclip_d2.fusion import MaskView, masks_to_output, semantic_inference, semantic_labels, semantic_scores


def test_map_is_the_weighted_sum_of_mask_probabilities():
    class_probs = torch.tensor([[0.5, 0.25], [0.0, 1.0]])
    mask_logits = torch.tensor([[[0.0, 50.0]], [[0.0, -50.0]]])  # probabilities 0.5, 1 and 0.5, 0
    expected = torch.tensor([[[0.25, 0.5]], [[0.625, 0.25]]])
    torch.testing.assert_close(semantic_inference(class_probs, mask_logits), expected)


def view_of(num_masks=12, num_categories=9, low_hw=(13, 17), padded_hw=(52, 68), image_hw=(47, 61), **fields):
    probs = torch.rand(num_masks, num_categories)
    return MaskView(probs, torch.randn(num_masks, *low_hw) * 3, padded_hw, image_hw, **fields)


@pytest.mark.parametrize("resize_masks_first", [True, False])
@pytest.mark.parametrize("tile_size", [1, 10_000, 10**9], ids=["row by row", "odd bands", "one band"])
@pytest.mark.parametrize("output_hw", [(47, 61), (30, 75), (1, 1)], ids=["as the image", "another shape", "a pixel"])
def test_labels_are_the_argmax_of_the_maps(output_hw, tile_size, resize_masks_first):
    views = [view_of(), view_of(5, flipped=True, padded_hw=(90, 40), image_hw=(90, 33))]
    for some in (views[:1], views):
        labels, scores = semantic_labels(some, output_hw, resize_masks_first, tile_size)
        maps = semantic_scores(some, output_hw, resize_masks_first)
        assert labels.dtype == torch.int64 and labels.shape == scores.shape == output_hw
        torch.testing.assert_close(scores, maps.amax(0), atol=1e-4, rtol=1e-5)
        ties = maps.topk(2, dim=0).values.diff(dim=0)[0].abs() < 1e-4
        assert torch.equal(labels[~ties], maps.argmax(0)[~ties]) and ties.float().mean() < 0.01


def test_maps_are_those_of_masks_at_output_size():
    view = view_of()
    masks = masks_to_output(view.mask_logits, view.padded_hw, view.image_hw, (30, 75))
    torch.testing.assert_close(semantic_scores([view], (30, 75)), semantic_inference(view.class_probs, masks))


def test_views_are_averaged_and_mirrored_ones_flipped_back():
    view = view_of(padded_hw=(47, 61))  # without padding, a mirrored image has mirrored masks
    mirrored = replace(view, mask_logits=view.mask_logits.flip(-1), flipped=True)
    expected = semantic_scores([view], (40, 50))
    torch.testing.assert_close(semantic_scores([view, mirrored], (40, 50)), expected, atol=1e-4, rtol=1e-4)
    nothing = replace(view, class_probs=torch.zeros(12, 9))
    torch.testing.assert_close(semantic_scores([view, nothing], (40, 50)), expected / 2)


def test_neither_masks_nor_scores_exist_for_all_pixels(monkeypatch):
    """Masks at 256 x 256 of 20 proposals are 1.3 million numbers, scores of 50 categories 3.3 million."""
    sizes = []

    def watched(name):
        original = getattr(torch, name)

        def call(*args, **keywords):
            result = original(*args, **keywords)
            sizes.append((result[0] if isinstance(result, tuple) else result).numel())
            return result

        return call

    for name in ("mm", "cat", "einsum", "lerp"):
        monkeypatch.setattr(torch, name, watched(name))
    view = view_of(20, 50, (64, 64), (256, 256), (256, 256))
    for resize_masks_first in (True, False):
        semantic_labels([view], (256, 256), resize_masks_first, tile_size=20_000)
    assert len(sizes) > 100 and max(sizes) <= 20_000


def test_autocast_does_not_blur_labels():
    view = view_of()
    expected = semantic_labels([view], (47, 61))
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, semantic_labels([view], (47, 61)), expected))


def test_permuting_proposals_changes_nothing():
    class_probs, mask_logits = torch.rand(6, 4), torch.randn(6, 5, 5)
    order = torch.randperm(6)
    torch.testing.assert_close(
        semantic_inference(class_probs, mask_logits), semantic_inference(class_probs[order], mask_logits[order])
    )


def test_no_proposals_and_one_category():
    assert semantic_inference(torch.zeros(0, 3), torch.zeros(0, 4, 5)).tolist() == torch.zeros(3, 4, 5).tolist()
    for resize_masks_first in (True, False):
        labels, scores = semantic_labels([view_of(0, 3)], (4, 5), resize_masks_first)
        assert not labels.any() and not scores.any()
        labels, scores = semantic_labels([view_of(2, 1)], (4, 5), resize_masks_first)
        assert not labels.any() and (scores > 0).all()


def test_refuses_differing_q_and_no_category():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 5, 5\)"):
        semantic_inference(torch.rand(3, 4), torch.rand(2, 5, 5))
    with pytest.raises(ValueError, match="at least one category"):
        view_of(3, 0)
