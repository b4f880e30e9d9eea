"""What background prompts win; whole models: tests/meta_arch/test_vocabularies.py."""

import pytest
import torch

from masqclip_d2.fusion import (
    ClassScores,
    MaskView,
    OutputMasks,
    instance_inference,
    instances_without_background,
    panoptic_inference,
    panoptic_without_background,
    semantic_inference,
    semantic_labels_and_background,
    semantic_without_background,
)
from masqclip_d2.fusion.background import is_unknown
from masqclip_d2.ops.resize import masks_to_output

SIZES = ((52, 68), (47, 61))  # padded, image
OUTPUT_HW = (40, 50)


def random_scores(num_masks=12, num_categories=4, num_prompts=30):
    probs = torch.randn(num_masks, num_categories + num_prompts).mul(2).softmax(1)
    return ClassScores(probs[:, :num_categories], background_probs=probs[:, num_categories:])


def random_view(scores, **fields):
    logits = torch.randn(len(scores.probs), 13, 17) * 3
    return MaskView(scores.probs, logits, *SIZES, background_probs=scores.background_probs, **fields)


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.0, [False] * 3), (0.5, [False, True, False]), (1.0, [True, True, False])]
)
def test_the_threshold_is_the_share_of_the_category(threshold, expected):
    category, background = torch.tensor([0.5, 0.2, 0.3]), torch.tensor([0.5, 0.4, 0.0])
    assert is_unknown(category, background, threshold).tolist() == expected


@pytest.mark.parametrize("resize_masks_first", [True, False])
@pytest.mark.parametrize("tile_size", [1, 10_000, 10**9], ids=["row by row", "odd bands", "one band"])
def test_pixels_go_to_the_best_column_of_all(resize_masks_first, tile_size):
    views = [random_view(random_scores()), random_view(random_scores(5), flipped=True)]
    (labels, scores), (prompts, background) = semantic_labels_and_background(
        views, OUTPUT_HW, resize_masks_first, tile_size
    )
    everything = [MaskView(view.background_probs, view.mask_logits, *SIZES, view.flipped) for view in views]
    maps = sum(_maps(view, resize_masks_first) for view in everything) / 2
    candidates = torch.cat([view.background_probs for view in views]).argmax(1).unique()
    torch.testing.assert_close(background, maps[candidates].amax(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(maps.gather(0, prompts.long()[None])[0], background, atol=1e-4, rtol=1e-4)
    of_categories = sum(_maps(view, resize_masks_first) for view in views) / 2
    torch.testing.assert_close(scores, of_categories.amax(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(of_categories.gather(0, labels[None])[0], scores, atol=1e-4, rtol=1e-4)


def _maps(view, resize_masks_first):
    from masqclip_d2.fusion import semantic_scores

    return semantic_scores([view], OUTPUT_HW, resize_masks_first)


def test_semantic_scores_are_0_where_background_wins_and_regions_add_up():
    view = random_view(random_scores())
    labels, scores, rejected = semantic_without_background([view], OUTPUT_HW, True, 0.5)
    masks = masks_to_output(view.mask_logits, *SIZES, OUTPUT_HW)
    category = semantic_inference(view.class_probs, masks).amax(0)
    candidates = view.background_probs.argmax(1).unique()
    background = semantic_inference(view.background_probs[:, candidates], masks)
    won = background.amax(0) > category
    clear = (background.amax(0) - category).abs() > 1e-4
    assert torch.equal((scores == 0)[clear], won[clear]) and 0.05 < won.float().mean() < 0.95
    assert sum(region.area for region in rejected) == int((scores == 0).sum())
    best = candidates[background.argmax(0)]
    for region in rejected:
        mask = (best == region.prompt) & won
        assert region.area == pytest.approx(int(mask.sum()), abs=3)
        assert region.score == pytest.approx(background.amax(0)[mask].mean().clamp_max(1).item(), abs=1e-2)
    nothing, everything = torch.zeros(2, *OUTPUT_HW, dtype=torch.bool)
    assert semantic_without_background([view], OUTPUT_HW, True, 0.5, nothing)[2] == []
    assert semantic_without_background([view], OUTPUT_HW, True, 0.5, ~everything)[2] == rejected


def test_panoptic_is_that_of_all_categories_and_prompts():
    """Each proposal has one column with a positive probability, so that nothing is decided by the threshold."""
    probs = torch.zeros(12, 10).scatter_(1, torch.randint(10, (12, 1)), torch.rand(12, 1) / 2 + 0.5)
    masks = torch.randn(12, 13, 17) * 3
    is_thing = (True, False, True, True)
    expected_ids, expected = panoptic_inference(ClassScores(probs), masks, [*is_thing, *[False] * 6], 0.3, 0.1)
    scores = ClassScores(probs[:, :4], background_probs=probs[:, 4:])
    ids, segments, rejected = panoptic_without_background(scores, masks, is_thing, 0.3, 0.1, 0.5)
    known = {one["id"]: one for one in expected if one["category_id"] < 4}
    assert known and len(known) < len(expected)
    assert [one["id"] for one in segments] == list(range(1, len(known) + 1))
    for segment, (old, one) in zip(segments, known.items(), strict=True):
        assert segment == {**one, "id": segment["id"]} and torch.equal(ids == segment["id"], expected_ids == old)
    others = [one for one in expected if one["category_id"] >= 4]
    assert [(r.prompt + 4, r.score, r.area) for r in rejected] == [
        (one["category_id"], one["score"], one["area"]) for one in others
    ]
    for region, one in zip(rejected, others, strict=True):
        ys, xs = (expected_ids == one["id"]).nonzero(as_tuple=True)
        assert region.box_xyxy == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert not ids[sum((expected_ids == one["id"]) for one in others) > 0].any()


def test_the_extra_class_still_rejects_without_a_label():
    scores = ClassScores(torch.tensor([[0.3], [0.3]]), torch.tensor([0.5, 0.1]), torch.tensor([[0.1], [0.4]]))
    masks = torch.full((2, 2, 2), -9.0)
    masks[0, 0] = masks[1, 1] = 9.0
    ids, segments, rejected = panoptic_without_background(scores, masks, [True], 0.0, 0.0, 0.5)
    assert not ids.any() and segments == [] and [(one.prompt, one.area) for one in rejected] == [(0, 2)]


def test_instances_are_those_of_the_other_proposals():
    scores = random_scores()
    masks = OutputMasks(torch.randn(12, 13, 17) * 3, *SIZES, OUTPUT_HW, tile_size=5000)
    found, rejected = instances_without_background(scores, masks, [True] * 4, 20, 0.05, 1.0, 0.5)
    known = scores.probs.amax(1) >= scores.background_probs.amax(1)
    expected = instance_inference(scores.probs[known], masks.select(known), topk=20, score_threshold=0.05)
    assert 0 < known.sum() < 12 and torch.equal(found.masks, expected.masks)
    assert torch.equal(found.scores, expected.scores)
    best, prompts = scores.background_probs[~known].max(1)
    ranked = instance_inference(torch.diag(best), masks.select(~known), topk=len(best))  # one category per proposal
    rows = zip(ranked.classes, ranked.masks, ranked.boxes_xyxy.int().tolist(), ranked.scores, strict=True)
    alone = {
        (int(prompts[index]), int(mask.sum()), tuple(box)): score for index, mask, box, score in rows if score >= 0.05
    }
    assert {(one.prompt, one.area, one.box_xyxy) for one in rejected} == set(alone)
    for one in rejected:
        assert one.score == pytest.approx(float(alone[one.prompt, one.area, one.box_xyxy]), rel=1e-5)
    assert [one.score for one in rejected] == sorted((one.score for one in rejected), reverse=True)


def test_no_view_without_background():
    view = random_view(random_scores())
    plain = MaskView(view.class_probs, view.mask_logits, *SIZES)
    with pytest.raises(ValueError, match="no background_probs"):
        semantic_labels_and_background([view, plain], OUTPUT_HW)
