import math

import pytest
import torch

from masqclip_d2.evaluation import MaskClassificationEvaluator


def prediction(classes, predicted, sides):
    """Each mask's `predicted` category scores 1, the category after it 0.5, the others 0."""
    scores = torch.zeros(len(classes), 4)
    for row, category in enumerate(predicted):
        scores[row, category], scores[row, (category + 1) % 4] = 1.0, 0.5
    return {"scores": scores, "gt_classes": torch.tensor(classes), "box_sides": torch.tensor(sides)}


def test_accuracies_by_hand(tiny_dataset):
    evaluator = MaskClassificationEvaluator(tiny_dataset.name, side_limits=(24, 48))
    # cat right (10 px), cat wrong (30), dog right (60), dog right (24), sky wrong
    evaluator.process(
        [{}, {}],
        [
            {"mask_classification": prediction([0, 0, 1], [0, 2, 1], [10.0, 30.0, 60.0])},
            {"mask_classification": prediction([1, 3], [1, 0], [24.0, 100.0])},
        ],
    )
    assert evaluator.evaluate()["mask_classification"] == pytest.approx(
        {
            "top1": 60.0,
            "top5": 100.0,  # all four categories are among the best five
            "top1_per_category": 100 * (0.5 + 1 + 0) / 3,
            "top1_things": 75.0,
            "top1_stuff": 0.0,
            "top1_base": 100 / 3,
            "top1_novel": 100.0,
            "top1_lt24": 100.0,
            "top1_24to48": 50.0,
            "top1_ge48": 100.0,
            "top1_ge24": 100 * 2 / 3,
        }
    )


def test_the_side_is_the_longer_one_of_the_box_in_original_pixels(tiny_dataset):
    evaluator = MaskClassificationEvaluator(tiny_dataset.name, side_limits=(30,))
    masks = torch.zeros(1, 20, 40, dtype=torch.bool)
    masks[0, 3, 5:20] = True  # 15 x 1 pixels at the network, 30 x 1 in the original
    output = {"scores": torch.eye(4)[:1], "gt_classes": torch.tensor([0]), "gt_masks": masks}
    evaluator.process([{"image": torch.zeros(3, 20, 40), "height": 40, "width": 80}], [{"mask_classification": output}])
    metrics = evaluator.evaluate()["mask_classification"]
    assert metrics["top1_ge30"] == 100.0 and math.isnan(metrics["top1_lt30"])


def test_equal_scores_and_nan_count_as_wrong(tiny_dataset):
    evaluator = MaskClassificationEvaluator(tiny_dataset.name)
    for scores in (torch.zeros(1, 4), torch.full((1, 4), math.nan)):
        output = {"scores": scores, "gt_classes": torch.tensor([0]), "box_sides": torch.tensor([9.0])}
        evaluator.process([{}], [{"mask_classification": output}])
    assert evaluator.evaluate()["mask_classification"]["top1"] == 0


def test_no_masks_give_nan_and_images_without_prediction_are_not_counted(tiny_dataset):
    evaluator = MaskClassificationEvaluator(tiny_dataset.name)
    empty = {"scores": torch.zeros(0, 4), "gt_classes": torch.zeros(0, dtype=torch.int64)}
    evaluator.process([{}, {}], [{}, {"mask_classification": empty}])
    assert all(math.isnan(value) for value in evaluator.evaluate()["mask_classification"].values())


def test_two_processes_are_one(tiny_dataset, two_processes):
    evaluators = [MaskClassificationEvaluator(tiny_dataset.name) for _ in range(3)]
    whole, *parts = evaluators
    for index, predicted in enumerate(([0, 1], [2, 1], [0, 3])):
        output = {"mask_classification": prediction([0, 1], predicted, [10.0, 30.0])}
        whole.process([{}], [output])
        parts[index % 2].process([{}], [output])
    expected = whole.evaluate()["mask_classification"]
    assert two_processes(*parts)["mask_classification"] == pytest.approx(expected, nan_ok=True)


def test_another_vocabulary_and_classes_out_of_range_are_named(tiny_dataset):
    evaluator = MaskClassificationEvaluator(tiny_dataset.name)
    output = prediction([0], [0], [9.0])
    with pytest.raises(ValueError, match="4 categories, but masks were classified over 3"):
        evaluator.process([{}], [{"mask_classification": {**output, "scores": torch.zeros(1, 3)}}])
    with pytest.raises(ValueError, match=r"x.jpg.*\[4\]"):
        evaluator.process(
            [{"file_name": "x.jpg"}], [{"mask_classification": {**output, "gt_classes": torch.tensor([4])}}]
        )


@pytest.mark.parametrize(
    "area_limits, names", [((48**2, 96**2), ("lt48", "48to96", "ge96", "ge48")), (None, ("lt32", "ge96"))]
)
def test_side_limits_are_those_of_the_area_limits(tiny_dataset, area_limits, names):
    if area_limits:
        tiny_dataset.metadata.area_limits = area_limits  # else COCO's
    metrics = MaskClassificationEvaluator(tiny_dataset.name).evaluate()["mask_classification"]
    assert {f"top1_{name}" for name in names} <= set(metrics)
