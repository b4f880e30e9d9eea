import pytest
import torch

from masqclip_d2.fusion import ClassScores, OutputMasks, instance_inference, masks_to_output, panoptic_inference

SIZES = [
    ((64, 96), (50, 80), (100, 160)),  # enlarged
    ((64, 96), (64, 96), (31, 47)),  # reduced
    ((40, 40), (40, 40), (40, 40)),  # neither
]


def _masks(sizes, tile_size, num_masks=6, seed=0):
    """Wavy discs of different sizes at different places."""
    generator = torch.Generator().manual_seed(seed)
    center_y, center_x, radius = torch.rand(3, num_masks, 1, 1, generator=generator)
    y, x = torch.linspace(0, 1, 16)[:, None], torch.linspace(0, 1, 24)
    waves = torch.nn.functional.interpolate(torch.randn(1, num_masks, 4, 5, generator=generator), (16, 24))[0]
    logits = (0.1 + 0.4 * radius - torch.hypot(y - center_y, x - center_x)) * 30 + waves
    return OutputMasks(logits, *sizes, tile_size=tile_size)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("tile_size", [1, 2_000, 1_000_000])
def test_bands_together_are_the_masks_at_output_size(sizes, tile_size):
    masks = _masks(sizes, tile_size)
    rows, bands = zip(*masks.bands(), strict=True)
    expected = masks_to_output(masks.mask_logits, *sizes)
    assert [row for one in rows for row in range(one.start, one.stop)] == list(range(sizes[2][0]))
    found = torch.cat(bands, dim=1)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    if tile_size == 1_000_000:
        assert len(bands) == 1 and torch.equal(found, expected)
    else:
        assert len(bands) > 1


def test_no_masks_and_wrong_shapes():
    none = OutputMasks(torch.zeros(0, 4, 4), (8, 8), (8, 8), (9, 7), tile_size=1)
    assert sum(band.shape[1] for _, band in none.bands()) == 9 and len(none) == 0
    with pytest.raises(ValueError, match="mask_logits"):
        OutputMasks(torch.zeros(4, 4), (8, 8), (8, 8), (8, 8))


@pytest.mark.parametrize("sizes", SIZES)
def test_panoptic_segments_do_not_depend_on_the_bands(sizes):
    probs = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    scores, is_thing = ClassScores(probs), (True, True, False, False)
    whole = panoptic_inference(scores, masks_to_output(_masks(sizes, 1).mask_logits, *sizes), is_thing, 0.2, 0.3)
    banded = panoptic_inference(scores, _masks(sizes, 500), is_thing, 0.2, 0.3)
    assert (banded[0] == whole[0]).float().mean() > 0.999
    for one, other in zip(banded[1], whole[1], strict=True):
        assert one["area"] == pytest.approx(other["area"], abs=2)
        assert {**one, "area": 0} == {**other, "area": 0}
    assert sum(segment["area"] for segment in banded[1]) == (banded[0] > 0).sum()


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_instances_do_not_depend_on_the_bands(sizes, threshold):
    probs = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    is_thing = (True, True, False, True)
    masks = masks_to_output(_masks(sizes, 1).mask_logits, *sizes)
    whole = instance_inference(probs, masks, is_thing, topk=15)
    banded = instance_inference(probs, _masks(sizes, 500), is_thing, topk=15, score_threshold=threshold)
    kept = whole.scores >= threshold
    assert 0 < kept.sum() <= 15 and (threshold == 0) == bool(kept.all())
    torch.testing.assert_close(banded.scores, whole.scores[kept], atol=1e-5, rtol=1e-5)
    assert torch.equal(banded.classes, whole.classes[kept])
    assert (banded.masks == whole.masks[kept]).float().mean() > 0.999
    assert (banded.boxes_xyxy - whole.boxes_xyxy[kept]).abs().max() <= 1


def test_instances_of_masks_at_output_size_are_exact():
    """Scores, order, masks and boxes of each entry, computed one by one."""
    generator = torch.Generator().manual_seed(2)
    probs, masks = torch.rand(5, 3, generator=generator), torch.randn(5, 20, 30, generator=generator)
    found = instance_inference(probs, masks, topk=9)
    assert len(found) == 9 and torch.equal(found.scores, found.scores.sort(descending=True).values)
    for score, category, mask, box in zip(found.scores, found.classes, found.masks, found.boxes_xyxy, strict=True):
        (query,) = [index for index in range(5) if torch.equal(masks[index] > 0, mask)]
        expected = probs[query, category] * masks[query].sigmoid()[mask].mean()
        torch.testing.assert_close(score, expected, atol=1e-5, rtol=1e-5)
        ys, xs = mask.nonzero().unbind(1)
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize("sizes", [((256, 192), (250, 190), (500, 380)), ((256, 192), (256, 192), (256, 192))])
def test_tiles_hold_the_wanted_masks_at_output_size(sizes):
    masks = _masks(sizes, 1000)
    expected = masks_to_output(masks.mask_logits, *sizes)
    seen = torch.zeros(sizes[2], dtype=torch.int64)
    skipped = 0
    for (rows, columns), index, logits in masks.tiles(lambda low, high: high > 0):
        seen[rows, columns] += 1
        torch.testing.assert_close(logits, expected[index, rows, columns], atol=2e-5, rtol=1e-5)
        others = [query for query in range(len(masks)) if query not in index.tolist()]
        assert (expected[others, rows, columns] <= 1e-5).all()
        skipped += len(others)
    assert (seen == 1).all() and skipped > 0


@pytest.mark.parametrize("seed", range(4))
def test_large_outputs_have_the_same_segments_and_instances(seed):
    """Tiles in which masks are left out, against all masks at once."""
    sizes = ((256, 192), (250, 190), (500, 380))
    probs = torch.rand(12, 4, generator=torch.Generator().manual_seed(seed))
    scores, is_thing = ClassScores(probs), (True, True, False, False)
    low = _masks(sizes, 1000, num_masks=12, seed=seed)
    full = masks_to_output(low.mask_logits, *sizes)
    whole, tiled = (panoptic_inference(scores, masks, is_thing, 0.2, 0.3) for masks in (full, low))
    assert (tiled[0] == whole[0]).float().mean() > 0.9999
    assert [{**one, "area": 0} for one in tiled[1]] == [{**one, "area": 0} for one in whole[1]]
    one, other = (instance_inference(probs, masks, is_thing, topk=20) for masks in (full, low))
    torch.testing.assert_close(other.scores, one.scores, atol=1e-5, rtol=1e-5)
    assert (other.masks == one.masks).float().mean() > 0.9999
