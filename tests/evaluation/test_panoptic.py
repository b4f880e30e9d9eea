import json
import math

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.evaluation import PanopticEvaluator
from masqclip_d2.evaluation.panoptic_quality import panoptic_quality_of_folders


def test_ground_truth_as_prediction_gives_100(tiny_dataset):
    metrics = tiny_dataset.evaluate(PanopticEvaluator(tiny_dataset.name))["panoptic_seg"]
    means = {key: value for key, value in metrics.items() if "-" not in key}
    suffixes = ("", "_th", "_st", "_base", "_novel")
    assert means == {f"{key}{suffix}": 100.0 for key in ("PQ", "SQ", "RQ") for suffix in suffixes}
    assert {key: v for key, v in metrics.items() if "-" in key} == {
        f"PQ-{name}": 100.0 for name in ("cat", "dog", "grass", "sky")
    }


def drop_dog(record, output):
    segment_ids, segments = output["panoptic_seg"]
    for segment in [s for s in segments if s["category_id"] == 1]:
        segment_ids[segment_ids == segment["id"]] = 0
        segments.remove(segment)


def test_groups_and_things_count_their_own_categories(tiny_dataset):
    metrics = tiny_dataset.evaluate(PanopticEvaluator(tiny_dataset.name), drop_dog)["panoptic_seg"]
    expected = {"PQ": 75.0, "PQ_th": 50.0, "PQ_st": 100.0, "PQ_base": 100.0, "PQ_novel": 0.0}
    assert {key: metrics[key] for key in expected} == expected


def test_without_groups_and_without_stuff_in_the_group(tiny_dataset):
    tiny_dataset.metadata.vocabulary["groups"]["none"] = []
    metrics = tiny_dataset.evaluate(PanopticEvaluator(tiny_dataset.name))["panoptic_seg"]
    assert math.isnan(metrics["PQ_none"])


def test_two_processes_are_one(tiny_dataset, two_processes):
    whole = tiny_dataset.evaluate(PanopticEvaluator(tiny_dataset.name), drop_dog)
    evaluators = [PanopticEvaluator(tiny_dataset.name) for _ in range(2)]
    for index, record in enumerate(tiny_dataset.records):
        output = tiny_dataset.perfect(record)
        drop_dog(record, output)
        evaluators[index % 2].process([record], [output])
    assert two_processes(*evaluators)["panoptic_seg"] == pytest.approx(whole["panoptic_seg"])


def test_written_predictions_read_back_to_the_same_quality(tiny_dataset, tmp_path):
    output_dir = tmp_path / "out"
    evaluator = PanopticEvaluator(tiny_dataset.name, str(output_dir), write_predictions=True)
    metrics = tiny_dataset.evaluate(evaluator, drop_dog)["panoptic_seg"]
    written = output_dir / "predictions.json"
    assert {c["id"] for c in json.loads(written.read_text())["categories"]} == {1, 5, 92, 200}
    quality, _ = panoptic_quality_of_folders(
        tiny_dataset.metadata.panoptic_json, tiny_dataset.folder, written, output_dir / "panoptic_png"
    )
    assert 100 * quality.result()["pq"] == pytest.approx(metrics["PQ"])


def test_category_ids_without_isthing_are_those_of_the_dataset(tiny_dataset):
    def to_dataset_ids(record, output):
        for segment in output["panoptic_seg"][1]:
            segment["category_id"] = (1, 5, 92, 200)[segment["category_id"]]
            del segment["isthing"]

    assert tiny_dataset.evaluate(PanopticEvaluator(tiny_dataset.name), to_dataset_ids)["panoptic_seg"]["PQ"] == 100.0


def test_a_second_round_starts_from_nothing(tiny_dataset):
    evaluator = PanopticEvaluator(tiny_dataset.name)
    tiny_dataset.evaluate(evaluator, drop_dog)
    evaluator.reset()
    assert tiny_dataset.evaluate(evaluator)["panoptic_seg"]["PQ"] == 100.0


def test_missing_and_doubled_predictions_are_named(tiny_dataset):
    evaluator = PanopticEvaluator(tiny_dataset.name)
    first = tiny_dataset.records[0]
    evaluator.process([first], [tiny_dataset.perfect(first)])
    with pytest.raises(ValueError, match="no prediction for 2 of 3 ground-truth images: 8, 11"):
        evaluator.evaluate()
    for record in tiny_dataset.records:
        evaluator.process([record], [tiny_dataset.perfect(record)])
    with pytest.raises(ValueError, match=r"\[7\].*more than once"):
        evaluator.evaluate()


def test_unknown_image_and_category_are_named(tiny_dataset):
    evaluator = PanopticEvaluator(tiny_dataset.name)
    record = tiny_dataset.records[0]
    output = tiny_dataset.perfect(record)
    with pytest.raises(ValueError, match="image 99 .*no panoptic ground truth"):
        evaluator.process([{**record, "image_id": 99}], [output])
    output["panoptic_seg"][1][0]["category_id"] = 40
    with pytest.raises(ValueError, match="image 7 .*thing of contiguous category 40"):
        evaluator.process([record], [output])


def test_metadata_that_is_missing_is_named(tiny_dataset):
    del tiny_dataset.metadata.panoptic_json
    with pytest.raises(ValueError, match="no metadata 'panoptic_json'"):
        PanopticEvaluator(tiny_dataset.name)
    tiny_dataset.metadata.panoptic_json = "nowhere.json"
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        PanopticEvaluator(tiny_dataset.name)


def test_what_the_mapper_leaves_out_does_not_count(tiny_dataset, caplog):
    """A listed segment without a pixel is no miss; pixels that are not listed are void."""
    path = tiny_dataset.folder / "panoptic.json"
    content = json.loads(path.read_text())
    first, second = (annotation["segments_info"] for annotation in content["annotations"][:2])
    first.append({"id": 123456, "category_id": 5, "area": 9, "iscrowd": 0})
    second.pop(1)
    path.write_text(json.dumps(content))
    metrics = tiny_dataset.evaluate(PanopticEvaluator(tiny_dataset.name))["panoptic_seg"]
    assert metrics["PQ"] == 100.0
    (message,) = [record.getMessage() for record in caplog.records]
    assert (
        "1 segments are listed without a pixel and 1 segments have pixels but are not listed, in 2 panoptic" in message
    )


def test_pngs_saved_blue_first_are_refused(tiny_dataset):
    path = tiny_dataset.folder / "7.png"
    Image.fromarray(np.asarray(Image.open(path))[..., ::-1]).save(path)
    record = tiny_dataset.records[0]
    with pytest.raises(ValueError, match="7.png has 0 of its 4 listed segments, but 4 if red and blue are exchanged"):
        PanopticEvaluator(tiny_dataset.name).process([record], [tiny_dataset.perfect(record)])
