import json

import pytest
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from masqclip_d2.config import load_config
from masqclip_d2.evaluation import evaluators_for
from masqclip_d2.evaluation.build import TASKS, tasks_of_config


def write_as_lvis(path):
    content = json.loads(path.read_text())
    for image in content["images"]:
        image.update(neg_category_ids=[], not_exhaustive_category_ids=[])
    for category in content["categories"]:
        category.update(frequency="f")
    path.write_text(json.dumps(content))


def kinds(evaluators):
    return [type(evaluator).__name__ for evaluator in evaluators._evaluators]


@pytest.mark.parametrize(
    "evaluator_type, json_file, expected",
    [
        (
            "coco_panoptic_seg",
            True,
            ["Panoptic", "Semantic", "Instance", "ProposalRecall", "MaskClassification"],
        ),
        ("coco_panoptic_seg", False, ["Panoptic", "Semantic", "MaskClassification"]),
        ("coco", True, ["Instance", "ProposalRecall", "MaskClassification"]),
        ("sem_seg", True, ["Semantic", "MaskClassification"]),
        ("lvis", True, ["Lvis", "MaskClassification"]),
    ],
)
def test_evaluators_follow_the_metadata(tiny_dataset, evaluator_type, json_file, expected):
    metadata = tiny_dataset.metadata
    del metadata.evaluator_type
    metadata.evaluator_type = evaluator_type
    if not json_file:
        del metadata.json_file
    if evaluator_type == "lvis":
        pytest.importorskip("lvis", reason="pip install --no-deps lvis")
        write_as_lvis(tiny_dataset.folder / "instances.json")
    evaluators = evaluators_for(tiny_dataset.name, None, TASKS)
    assert kinds(evaluators) == [f"{name}Evaluator" for name in expected]


def test_only_the_requested_tasks(tiny_dataset):
    assert kinds(evaluators_for(tiny_dataset.name, None, ["semantic"])) == ["SemanticEvaluator"]


def test_all_evaluators_run_on_perfect_outputs(tiny_dataset, tmp_path):
    evaluators = evaluators_for(tiny_dataset.name, str(tmp_path / "out"), ["panoptic", "semantic", "instance"])
    results = tiny_dataset.evaluate(evaluators)
    assert {results[t][m] for t, m in (("panoptic_seg", "PQ"), ("sem_seg", "mIoU"))} == {100.0}
    assert results["segm"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance", "proposals"])
def test_no_predictions_is_one_line(tiny_dataset, task):
    evaluators = evaluators_for(tiny_dataset.name, None, [task])
    evaluators.reset()
    with pytest.raises(ValueError, match="no predictions to evaluate|no prediction for 3 of 3") as caught:
        evaluators.evaluate()
    assert "\n" not in str(caught.value)


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content["annotations"])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("task", ["instance", "proposals"])
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: rows[0].update(image_id=77), "annotations of image 77, which is not among its 3 images"),
        (lambda rows: rows[0].update(category_id=2), "category id 2, which is not among the 2 categories of the dat"),
    ],
    ids=["annotation without image", "category not in the table"],
)
def test_wrong_ground_truth_is_one_line(tiny_dataset, task, change, message):
    edit_json(tiny_dataset.folder / "instances.json", change)
    with pytest.raises(ValueError, match=message) as caught:
        evaluators_for(tiny_dataset.name, None, [task])
    assert "\n" not in str(caught.value)


def test_a_panoptic_category_that_is_not_in_the_table(tiny_dataset):
    edit_json(tiny_dataset.folder / "panoptic.json", lambda rows: rows[0]["segments_info"][0].update(category_id=2))
    with pytest.raises(
        ValueError, match="image 7 has category id 2, which is not among the 4 categories .*segment 1005"
    ):
        tiny_dataset.evaluate(evaluators_for(tiny_dataset.name, None, ["panoptic"]))


@pytest.mark.parametrize("number", [0, 2.5, "all"])
def test_detections_per_image_must_be_a_positive_integer(tiny_dataset, number):
    tiny_dataset.metadata.detections_per_image = number
    with pytest.raises(ValueError, match="'detections_per_image' must be a positive integer"):
        evaluators_for(tiny_dataset.name, None, ["instance"])


@pytest.mark.parametrize(
    "evaluator_type, tasks, message",
    [
        ("coco_panoptic_seg", ["panoptics"], r"Unknown tasks \['panoptics'\]"),
        ("cityscapes", ["panoptic"], "evaluator_type 'cityscapes', for which there is no evaluator; known: coco"),
        (None, ["panoptic"], "no metadata 'evaluator_type'"),
        ("sem_seg", ["instance"], r"Nothing to evaluate .*predicts instance.* Leave it out of DATASETS.TEST; \"\(\)\""),
        ("sem_seg", [], "Nothing to evaluate .*predicts nothing"),
    ],
)
def test_errors(tiny_dataset, evaluator_type, tasks, message):
    del tiny_dataset.metadata.evaluator_type
    tiny_dataset.metadata.evaluator_type = evaluator_type
    with pytest.raises(ValueError, match=message):
        evaluators_for(tiny_dataset.name, None, tasks)


@pytest.mark.parametrize(
    "config, opts, expected",
    [
        ("shapes/teacher", [], ("proposals",)),
        ("shapes/maskclip", ["MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "False"], ("panoptic", "instance")),
        (
            "shapes/maskclip_gt",
            ["MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "False", "MODEL.MASK_FORMER.TEST.INSTANCE_ON", "False"],
            ("semantic", "mask_classification"),
        ),
    ],
)
def test_tasks_follow_the_model_of_the_configuration(config, opts, expected):
    assert tasks_of_config(load_config(config, opts)) == expected


@pytest.fixture
def register(monkeypatch):
    """`register(class)`: a meta-architecture for one test."""
    monkeypatch.setattr(META_ARCH_REGISTRY, "_obj_map", dict(META_ARCH_REGISTRY._obj_map))
    return META_ARCH_REGISTRY.register


def test_tasks_of_a_foreign_model(register):
    class Plain(nn.Module):
        pass

    class Proposals(nn.Module):
        predicts_proposals = True

    class OwnTasks(nn.Module):
        @classmethod
        def evaluation_tasks(cls, cfg):
            return ["semantic"]

    for model_class in (Plain, Proposals, OwnTasks):
        register(model_class)

    def tasks(name):
        return tasks_of_config(load_config("shapes/maskclip", ["MODEL.META_ARCHITECTURE", name]))

    assert tasks("Plain") == ("panoptic", "semantic", "instance")
    assert tasks("Proposals") == ("proposals",)
    assert tasks("OwnTasks") == ("semantic",)
