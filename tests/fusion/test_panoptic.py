import pytest
import torch

from masqclip_d2.fusion import ClassScores, panoptic_inference

IS_THING = (True, True, False)


def logits_of(*rows):
    """Masks of one row of pixels each: '#' surely inside, '+' inside, '.' outside, '-' slightly outside."""
    value = {"#": 10.0, "+": 1.0, "-": -1.0, ".": -10.0}
    return torch.tensor([[[value[c] for c in row]] for row in rows])


def run(probs, mask_logits, object_threshold=0.3, overlap_threshold=0.5, reject_probs=None):
    scores = ClassScores(torch.tensor(probs), None if reject_probs is None else torch.tensor(reject_probs))
    segment_ids, segments = panoptic_inference(scores, mask_logits, IS_THING, object_threshold, overlap_threshold)
    assert segment_ids.dtype == torch.int32
    return segment_ids[0].tolist(), segments


def test_two_things_and_the_pixels_that_nobody_covers():
    ids, segments = run([[0.9, 0.0, 0.0], [0.1, 0.5, 0.2]], logits_of("##....", "...##."))
    assert ids == [1, 1, 0, 2, 2, 0]
    assert segments == [
        {"id": 1, "category_id": 0, "isthing": True, "score": pytest.approx(0.9), "area": 2},
        {"id": 2, "category_id": 1, "isthing": True, "score": pytest.approx(0.5), "area": 2},
    ]


def test_score_times_mask_decides_a_pixel():
    # Pixel 1: 0.9 * sigmoid(1) = 0.66 loses against 0.8 * sigmoid(10) = 0.8.
    ids, _ = run([[0.9, 0.0, 0.0], [0.0, 0.8, 0.0]], logits_of("#+..", ".##."))
    assert ids == [1, 2, 2, 0]


def test_a_pixel_won_but_outside_the_winners_mask_stays_void():
    # Pixel 2: query 0 wins with 0.9 * sigmoid(-1) = 0.24, yet sigmoid(-1) < 0.5.
    ids, segments = run([[0.9, 0.0, 0.0]], logits_of("##-."))
    assert ids == [1, 1, 0, 0]
    assert segments[0]["area"] == 2


def test_object_threshold_is_strict():
    ids, segments = run([[0.5, 0.0, 0.0]], logits_of("##.."), object_threshold=0.5)
    assert ids == [0, 0, 0, 0] and segments == []


@pytest.mark.parametrize(
    "overlap_threshold, expected",
    [(0.5, [2, 2, 1, 1]), (0.51, [1, 1, 0, 0])],
    ids=["half of its mask is enough", "half of its mask is too little"],
)
def test_overlap_threshold_compares_pixels_won_with_the_own_mask(overlap_threshold, expected):
    # Query 0 covers all four pixels and wins two. Query 1 wins all of its own.
    ids, _ = run([[0.6, 0.0, 0.0], [0.0, 0.9, 0.0]], logits_of("####", "##.."), overlap_threshold=overlap_threshold)
    assert ids == expected


def test_overlap_counts_pixels_won_outside_the_own_mask_too():
    # Query 0 wins pixel 3 and, outside its mask, pixel 4: 2 of 4, of which only pixel 3 enters the segment (published).
    ids, _ = run([[0.9, 0.0, 0.0], [0.0, 0.95, 0.0]], logits_of("####-", "###.."), overlap_threshold=0.5)
    assert ids == [2, 2, 2, 1, 0]


def test_stuff_of_one_category_is_one_segment_and_things_are_not():
    stuff, thing = [0.0, 0.0, 0.8], [0.7, 0.0, 0.0]
    ids, segments = run([stuff, thing, thing, [0.0, 0.0, 0.9]], logits_of("#......", "..#....", "...#...", "......#"))
    assert ids == [1, 0, 2, 3, 0, 0, 1]
    assert segments[0] == {"id": 1, "category_id": 2, "isthing": False, "score": pytest.approx(0.9), "area": 2}
    assert [s["isthing"] for s in segments] == [False, True, True]


def test_proposals_are_rejected_and_free_their_pixels():
    probs = [[0.3, 0.0, 0.0], [0.0, 0.4, 0.0]]
    ids, segments = run(probs, logits_of("##..", ".##."), object_threshold=0.2, reject_probs=[0.7, 0.3])
    assert ids == [0, 1, 1, 0]
    assert segments[0]["category_id"] == 1


def test_a_category_as_probable_as_rejection_wins():
    ids, _ = run([[0.5, 0.0, 0.0]], logits_of("##.."), reject_probs=[0.5])
    assert ids == [1, 1, 0, 0]


def test_areas_and_ids_agree_with_the_map():
    scores = ClassScores(torch.rand(20, 3))
    segment_ids, segments = panoptic_inference(scores, torch.randn(20, 16, 16), IS_THING, 0.5, 0.05)
    assert len(segments) > 1
    assert [s["id"] for s in segments] == list(range(1, len(segments) + 1))
    assert [s["area"] for s in segments] == torch.bincount(segment_ids.flatten().long())[1:].tolist()


@pytest.mark.parametrize("num_queries, num_categories", [(0, 3), (0, 1), (4, 1)])
def test_no_proposals_and_one_category(num_queries, num_categories):
    scores = ClassScores(torch.ones(num_queries, num_categories), torch.zeros(num_queries))
    segment_ids, segments = panoptic_inference(scores, torch.ones(num_queries, 3, 3), [True] * num_categories, 0.5, 0.5)
    assert segment_ids.shape == (3, 3)
    assert len(segments) == min(num_queries, 1)


def test_refuses_another_number_of_categories():
    with pytest.raises(ValueError, match="is_thing has 3 entries, but there are scores of 4"):
        panoptic_inference(ClassScores(torch.rand(2, 4)), torch.rand(2, 4, 4), IS_THING, 0.5, 0.5)


def test_tensors_with_gradients():
    probs, masks = (torch.rand(3, *size, requires_grad=True) for size in ((2,), (4, 4)))
    ids, segments = panoptic_inference(ClassScores(probs), masks, [True, False], 0.0, 0.0)
    assert not ids.requires_grad and segments
