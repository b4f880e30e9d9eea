"""Hand-computed cases on rows of ten pixels; the published results are compared in tests/test_golden.py (pq_A)."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from masqclip_d2.evaluation import PanopticQuality, id2rgb, panoptic_quality, rgb2id
from masqclip_d2.evaluation.panoptic_quality import panoptic_quality_of_folders

CAT, DOG, SKY = 1, 5, 92


def quality_of(gt_row, gt, pred_row, pred):
    """gt: {segment id: (category, iscrowd)}; pred: {segment id: category}."""
    gt_map, pred_map = np.array([gt_row]), np.array([pred_row])
    quality = PanopticQuality([CAT, DOG, SKY])
    quality.add_image(
        gt_map,
        [
            {"id": i, "category_id": category, "iscrowd": crowd, "area": int((gt_map == i).sum())}
            for i, (category, crowd) in gt.items()
        ],
        pred_map,
        [{"id": i, "category_id": category} for i, category in pred.items()],
    )
    return quality


def counts(quality, category):
    c = quality.counts[category]
    return c.tp, c.fp, c.fn


def test_match_above_half():
    # Intersection 3, union 4 + 4 - 3 = 5: IoU 0.6.
    quality = quality_of(
        [1, 1, 1, 1, 2, 2, 2, 2, 2, 2], {1: (CAT, 0), 2: (SKY, 0)}, [0, 7, 7, 7, 7, 0, 0, 0, 0, 0], {7: CAT}
    )
    assert counts(quality, CAT) == (1, 0, 0)
    assert counts(quality, SKY) == (0, 0, 1)
    assert quality.per_category()[CAT] == {"pq": pytest.approx(0.6), "sq": pytest.approx(0.6), "rq": 1.0}
    assert quality.per_category()[SKY] == {"pq": 0.0, "sq": 0.0, "rq": 0.0}
    assert quality.result() == {"pq": pytest.approx(0.3), "sq": pytest.approx(0.3), "rq": 0.5, "n": 2}


def test_iou_of_exactly_half_is_no_match():
    # Intersection 2, union 4.
    quality = quality_of(
        [1, 1, 1, 1, 2, 2, 2, 2, 2, 2], {1: (CAT, 0), 2: (SKY, 0)}, [7, 7, 0, 0, 0, 0, 0, 0, 0, 0], {7: CAT}
    )
    assert counts(quality, CAT) == (0, 1, 1)


def test_void_is_not_part_of_the_union():
    # The prediction covers 2 of the object and 3 void pixels: union 5 + 2 - 2 - 3 = 2, IoU 1.
    quality = quality_of([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], {1: (CAT, 0)}, [7, 7, 7, 7, 7, 0, 0, 0, 0, 0], {7: CAT})
    assert quality.per_category()[CAT]["pq"] == 1.0


def test_unmatched_prediction_mostly_on_void_is_ignored():
    gt_row, gt = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0], {1: (SKY, 0)}
    assert counts(quality_of(gt_row, gt, [0, 0, 0, 0, 0, 7, 7, 7, 7, 7], {7: CAT}), CAT) == (0, 0, 0)  # 3 of 5 void
    assert counts(quality_of(gt_row, gt, [0, 0, 0, 0, 0, 0, 7, 7, 0, 0], {7: CAT}), CAT) == (
        0,
        1,
        0,
    )  # 1 of 2: not more


def test_predictions_on_crowd_of_their_category_are_ignored_and_crowd_is_never_a_miss():
    gt_row, gt = [1, 1, 1, 1, 2, 2, 2, 2, 2, 2], {1: (CAT, 1), 2: (SKY, 0)}
    on_crowd = [7, 7, 7, 7, 0, 0, 0, 0, 0, 0]
    assert counts(quality_of(gt_row, gt, on_crowd, {7: CAT}), CAT) == (0, 0, 0)
    assert counts(quality_of(gt_row, gt, on_crowd, {7: DOG}), DOG) == (0, 1, 0)  # another category does not


def test_another_category_is_no_match():
    quality = quality_of([1] * 10, {1: (CAT, 0)}, [7] * 10, {7: DOG})
    assert counts(quality, CAT) == (0, 0, 1) and counts(quality, DOG) == (0, 1, 0)


def test_area_of_the_ground_truth_comes_from_its_annotation(caplog):
    quality = PanopticQuality([CAT])
    gt_map = np.ones((1, 10), dtype=int)
    segment = {"id": 1, "category_id": CAT, "area": 5}  # really 10: IoU = 5 / (5 + 5 - 5) = 1
    quality.add_image(
        gt_map, [segment], gt_map * np.array([1] * 5 + [0] * 5), [{"id": 1, "category_id": CAT}], "image 3"
    )
    assert quality.per_category()[CAT]["sq"] == 1.0
    assert "image 3" in caplog.text and "[1]" in caplog.text


@pytest.mark.parametrize("area", [0, 4])
def test_no_area_makes_a_quality_above_100(area):
    quality = PanopticQuality([CAT])
    full = np.ones((1, 10), dtype=int)
    gt = [{"id": 1, "category_id": CAT, "area": area}]
    quality.add_image(full, gt, full, [{"id": 1, "category_id": CAT}])
    assert quality.result()["pq"] == 1.0


def test_empty_groups_are_nan():
    empty = PanopticQuality([CAT, SKY]).result()
    assert empty["n"] == 0 and math.isnan(empty["pq"]) and math.isnan(empty["sq"]) and math.isnan(empty["rq"])
    quality = quality_of([1] * 10, {1: (CAT, 0)}, [7] * 10, {7: CAT})
    assert quality.result()["pq"] == 1.0  # categories that do not occur are left out
    assert math.isnan(quality.result([SKY])["pq"])


def test_image_without_segments_on_either_side():
    quality = quality_of([0] * 10, {}, [0] * 10, {})
    assert quality.result()["n"] == 0


def random_image(rng):
    maps = []
    for _ in range(2):
        segment_map = rng.integers(0, 6, (4, 4)).repeat(5, 0).repeat(5, 1)
        maps += [
            segment_map,
            [{"id": int(i), "category_id": int(rng.choice([CAT, DOG, SKY]))} for i in np.unique(segment_map) if i],
        ]
    for segment in maps[1]:
        segment |= {"area": int((maps[0] == segment["id"]).sum()), "iscrowd": int(rng.random() < 0.2)}
    return maps


def test_two_parts_merge_to_the_whole():
    rng = np.random.default_rng(0)
    images = [random_image(rng) for _ in range(8)]
    whole, first, second = (PanopticQuality([CAT, DOG, SKY]) for _ in range(3))
    for index, image in enumerate(images):
        whole.add_image(*image)
        (first if index < 3 else second).add_image(*image)
    first.merge(second.state())
    for category in (CAT, DOG, SKY):
        assert counts(first, category) == counts(whole, category)
    assert first.result() == pytest.approx(whole.result())
    assert 0 < whole.result()["pq"] < 1


def test_ids_and_colors_are_inverse():
    ids = np.array([[0, 1, 255, 256], [65535, 65536, 16777215, 1000005]])
    assert np.array_equal(rgb2id(id2rgb(ids)), ids)
    assert rgb2id(np.array([200, 200, 200], dtype=np.uint8)) == 200 * (1 + 256 + 65536)  # no wrap-around


@pytest.mark.parametrize(
    "pred_map, pred_segments, message",
    [
        ([1, 2], [{"id": 1, "category_id": CAT}], r"prediction: segment ids 2 of the map"),
        ([1, 1], [{"id": 1, "category_id": CAT}, {"id": 9, "category_id": CAT}], "segments 9 .* no pixel"),
        ([1, 1], [{"id": 1, "category_id": 77}], "unknown category_id 77"),
        ([1, 1], [{"id": 1, "category_id": CAT}] * 2, "unique"),
        ([1, 1, 1], [{"id": 1, "category_id": CAT}], "pixels"),
    ],
    ids=["unlisted id", "listed but absent", "unknown category", "same id twice", "another size"],
)
def test_errors_name_the_image(pred_map, pred_segments, message):
    gt = [{"id": 1, "category_id": CAT, "area": 2}]
    with pytest.raises(ValueError, match=f"image 42.*{message}"):
        PanopticQuality([CAT]).add_image(np.array([[1, 1]]), gt, np.array([pred_map]), pred_segments, "image 42")


def test_ground_truth_ids_must_be_listed():
    with pytest.raises(ValueError, match="ground truth: segment ids 3 of the map"):
        PanopticQuality([CAT]).add_image(np.array([[3, 3]]), [], np.array([[0, 0]]), [])


def test_folders_name_an_image_without_prediction_and_an_unreadable_png(tiny_dataset):
    folder = tiny_dataset.folder
    gt = folder / "panoptic.json"
    quality, categories = panoptic_quality_of_folders(gt, folder, gt, folder)
    assert quality.result() == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 4}
    assert set(categories) == {1, 5, 92, 200}

    (folder / "none.json").write_text('{"annotations": []}')
    with pytest.raises(ValueError, match="no prediction for image 7"):
        panoptic_quality_of_folders(gt, folder, folder / "none.json", folder)
    (folder / "8.png").write_bytes(b"")
    with pytest.raises(ValueError, match="8.png cannot be read"):
        panoptic_quality_of_folders(gt, folder, gt, folder)


def test_several_processes_have_the_counts_of_one(monkeypatch):
    monkeypatch.setattr(panoptic_quality, "_PAIRS_PER_CHUNK", 2)
    folder = Path(__file__).parents[1] / "golden" / "pq_A"
    files = (folder / "gt.json", folder / "gt_png", folder / "pred.json", folder / "pred_png")
    (one, _), (two, _) = (panoptic_quality_of_folders(*files, num_workers=number) for number in (1, 2))
    assert one.result()["n"] == 8
    for category, state in one.state().items():
        assert two.state()[category] == pytest.approx(state, abs=1e-12)


def test_long_and_short_runs_have_the_same_counts():
    """Noise, of which every pixel is a run, and the same pixels sorted into few runs."""
    rng = np.random.default_rng(0)
    gt, pred = rng.integers(0, 4, (2, 40 * 30))
    order = np.lexsort((pred, gt))
    segments = [{"id": i, "category_id": CAT, "area": int((gt == i).sum())} for i in (1, 2, 3)]
    states = []
    for some in (np.arange(gt.size), order):
        quality = PanopticQuality([CAT])
        quality.add_image(gt[some].reshape(40, 30), segments, pred[some].reshape(40, 30), segments)
        states.append(quality.state())
    assert states[0] == states[1]
    one_pixel = quality_of([1], {1: (CAT, 0)}, [7], {7: CAT})
    assert counts(one_pixel, CAT) == (1, 0, 0)


@pytest.mark.datasets
@pytest.mark.skipif("MASQCLIP_COCO_SAMPLE" not in os.environ, reason="MASQCLIP_COCO_SAMPLE names no folder")
def test_real_ground_truth_as_its_own_prediction_gives_100():
    folder = Path(os.environ["MASQCLIP_COCO_SAMPLE"])
    gt = folder / "panoptic_examples.json"
    quality, _ = panoptic_quality_of_folders(gt, folder / "panoptic", gt, folder / "panoptic")
    assert quality.result() == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 8}
