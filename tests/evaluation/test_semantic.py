import math

import numpy as np
import pytest
import torch
from PIL import Image

from masqclip_d2.data.label_maps import read_label_map
from masqclip_d2.evaluation import SemanticEvaluator, confusion_matrix, semantic_metrics

NAMES = ("a", "b", "c", "d")


def test_metrics_by_hand():
    # Truth: a a a b b, one ignored. Prediction: a a b b c, anything. c is only predicted, d occurs nowhere.
    gt, prediction = np.array([[0, 0, 0, 1, 1, 255]]), np.array([[0, 0, 1, 1, 2, 3]])
    confusion = confusion_matrix(gt, prediction, 4, 255)
    assert confusion.sum() == 5
    metrics = semantic_metrics(confusion, NAMES, {"base": [0, 3], "novel": [1, 2], "unseen": [3]})
    iou_a, iou_b = 2 / 3, 1 / 3
    expected = {
        "mIoU": 50.0,  # a and b
        "mIoU_gt_or_pred": 100 / 3,  # a, b and c, which counts 0
        "fwIoU": 100 * (3 * iou_a + 2 * iou_b) / 5,
        "mACC": 100 * (2 / 3 + 1 / 2) / 2,
        "pACC": 60.0,
        "mIoU_base": 100 * iou_a,
        "mACC_base": 100 * 2 / 3,
        "mIoU_novel": 100 * iou_b,
        "mACC_novel": 50.0,
        "IoU-a": 100 * iou_a,
        "IoU-b": 100 * iou_b,
        "ACC-a": 100 * 2 / 3,
        "ACC-b": 50.0,
    }
    undefined = {"mIoU_unseen", "mACC_unseen", "IoU-c", "IoU-d", "ACC-c", "ACC-d"}
    assert {key: value for key, value in metrics.items() if key not in undefined} == pytest.approx(expected)
    assert all(math.isnan(metrics[key]) for key in undefined)
    assert {type(value) for value in metrics.values()} == {float}


def test_no_category_is_a_miss_and_belongs_to_no_prediction():
    confusion = confusion_matrix(np.array([[0, 0, 1, 1]]), np.array([[0, 255, 1, 255]]), 2, 255)
    metrics = semantic_metrics(confusion, ("a", "b"))
    assert metrics["mIoU"] == 50.0 and metrics["pACC"] == 50.0


def test_without_any_ground_truth_everything_is_nan():
    metrics = semantic_metrics(np.zeros((2, 3), dtype=np.int64), ("a", "b"), {"base": [0]})
    assert all(math.isnan(value) for value in metrics.values())


def test_equals_the_sum_over_pixels_on_random_maps():
    rng = np.random.default_rng(0)
    gt, prediction = rng.integers(0, 5, (2, 30, 40))
    metrics = semantic_metrics(confusion_matrix(gt, prediction, 5, 255), list("abcde"))
    for index, name in enumerate("abcde"):
        both, either = ((gt == index) & (prediction == index)).sum(), ((gt == index) | (prediction == index)).sum()
        assert metrics[f"IoU-{name}"] == pytest.approx(100 * both / either)


@pytest.mark.parametrize(
    "gt, prediction, message",
    [
        ([[0, 7]], [[0, 0]], "ground truth holds label 7, but there are 4 categories"),
        ([[0, 0]], [[0, 9]], "prediction holds label 9"),
        ([[0, -1]], [[0, 0]], "ground truth holds label -1"),
        ([[0, 0]], [[0]], r"\(1, 1\) pixels, the ground truth \(1, 2\)"),
    ],
)
def test_labels_out_of_range_are_named(gt, prediction, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(gt), np.array(prediction), 4, 255)


def scores_from(labels):
    """(K, H, W) scores whose arg-max are the labels; void becomes category 0."""
    labels = labels.where(labels < 4, torch.zeros_like(labels))
    return torch.nn.functional.one_hot(labels, 4).permute(2, 0, 1).float()


def without_ground_truth_files(record):
    return {key: value for key, value in record.items() if not key.endswith("sem_seg_file_name")}


@pytest.mark.parametrize("form", ["labels", "numpy labels", "scores", "labels of another model"])
@pytest.mark.parametrize("source", ["input", "dataset", "panoptic png"])
def test_ground_truth_as_prediction_gives_100(tiny_dataset, form, source):
    evaluator = SemanticEvaluator(tiny_dataset.name)
    if source == "panoptic png":
        for record in tiny_dataset.records:
            del record["sem_seg_file_name"]
            record["pan_seg_file_name"] = str(tiny_dataset.folder / f"{record['image_id']}.png")
            contiguous = {1: 0, 5: 1, 92: 2, 200: 3}
            record["segments_info"] = [
                {**s, "category_id": contiguous[s["category_id"]]}
                for s in tiny_dataset.segment_info(record["image_id"])
            ]
    for record in tiny_dataset.records:
        labels = tiny_dataset.perfect(record)["sem_seg_labels"]
        wrong = torch.zeros(4, 24, 32)  # of the two, labels count
        output = {
            "labels": {"sem_seg_labels": labels, "sem_seg": wrong},
            "numpy labels": {"sem_seg_labels": labels.numpy()},
            "scores": {"sem_seg": scores_from(labels)},
            "labels of another model": {"sem_seg": labels},
        }[form]
        mapped = record if source == "input" else {"file_name": record["file_name"]}
        evaluator.process([mapped], [output])
    metrics = evaluator.evaluate()["sem_seg"]
    means = {key: value for key, value in metrics.items() if "-" not in key}
    assert set(means.values()) == {100.0}
    assert {"mIoU_base", "mIoU_novel"} < set(means)


def shift(record, output):
    output["sem_seg_labels"] = output["sem_seg_labels"].roll(3, 1)


def test_two_processes_are_one(tiny_dataset, two_processes):
    whole = tiny_dataset.evaluate(SemanticEvaluator(tiny_dataset.name), shift)["sem_seg"]
    assert 0 < whole["mIoU"] < 100
    evaluators = [SemanticEvaluator(tiny_dataset.name) for _ in range(2)]
    for index, record in enumerate(tiny_dataset.records):
        output = tiny_dataset.perfect(record)
        shift(record, output)
        evaluators[index % 2].process([record], [output])
    assert two_processes(*evaluators)["sem_seg"] == whole


def test_bad_input_names_the_file(tiny_dataset):
    evaluator = SemanticEvaluator(tiny_dataset.name)
    record = tiny_dataset.records[0]
    path = tiny_dataset.folder / "7_sem.png"
    labels = tiny_dataset.perfect(record)["sem_seg_labels"]
    with pytest.raises(ValueError, match="7_sem.png: the prediction has 5 channels, but the dataset 4"):
        evaluator.process([record], [{"sem_seg": torch.zeros(5, 24, 32)}])
    with pytest.raises(ValueError, match=r"7_sem.png: the prediction has \(23, 32\) pixels"):
        evaluator.process([record], [{"sem_seg": labels[1:]}])
    Image.fromarray(np.full((24, 32), 40, dtype=np.uint8)).save(path)
    with pytest.raises(ValueError, match="7_sem.png holds the label 40, but labels are 0..3"):
        evaluator.process([record], [{"sem_seg": labels}])
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="7_sem.png cannot be read"):
        evaluator.process([record], [{"sem_seg": labels}])
    path.unlink()
    with pytest.raises(FileNotFoundError, match="7_sem.png does not exist"):
        evaluator.process([record], [{"sem_seg": labels}])
    with pytest.raises(ValueError, match="other.jpg has no ground truth"):
        evaluator.process([{"file_name": "other.jpg"}], [{"sem_seg": labels}])


def test_ignore_label_must_not_be_a_category(tiny_dataset):
    del tiny_dataset.metadata.ignore_label
    tiny_dataset.metadata.ignore_label = 2
    with pytest.raises(ValueError, match="ignore_label 2 is also the id of category 'grass'"):
        SemanticEvaluator(tiny_dataset.name)


def test_sixteen_bit_labels_and_palettes_are_read_as_ids(tmp_path):
    labels = np.array([[0, 255, 846, 65535]], dtype=np.uint16)
    Image.fromarray(labels).save(tmp_path / "labels.tif")
    assert read_label_map(tmp_path / "labels.tif").tolist() == labels.tolist()
    palette = Image.fromarray(np.array([[0, 3]], dtype=np.uint8), mode=None).convert("P")
    palette.putpalette([9] * 768)
    palette.save(tmp_path / "palette.png")
    assert read_label_map(tmp_path / "palette.png").tolist() == [[0, 3]]
    Image.new("RGB", (2, 2)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match="expected one channel"):
        read_label_map(tmp_path / "rgb.png")


@pytest.mark.parametrize(
    "labels, remark",
    [
        (0, "the only category in the ground truth is 'cat', of 4: mIoU of one category means nothing"),
        (255, "no pixel of the ground truth has one of the 4 categories, so that no metric is defined"),
    ],
)
def test_metrics_that_mean_nothing_are_said_to(tiny_dataset, caplog, labels, remark):
    for record in tiny_dataset.records:
        Image.fromarray(np.full((24, 32), labels, dtype=np.uint8)).save(record["sem_seg_file_name"])
    tiny_dataset.evaluate(SemanticEvaluator(tiny_dataset.name))
    assert [record.getMessage() for record in caplog.records if remark in record.getMessage()]


def test_metrics_of_two_categories_have_no_remark(tiny_dataset, caplog):
    tiny_dataset.evaluate(SemanticEvaluator(tiny_dataset.name))
    assert not caplog.records
