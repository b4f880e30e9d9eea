from types import SimpleNamespace

import pytest

from masqclip_d2.evaluation import evaluators_for
from masqclip_d2.evaluation.build import TASKS, tasks_of_config


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
    ],
)
def test_the_metadata_decides(tiny_dataset, evaluator_type, json_file, expected):
    metadata = tiny_dataset.metadata
    del metadata.evaluator_type
    metadata.evaluator_type = evaluator_type
    if not json_file:
        del metadata.json_file
    evaluators = evaluators_for(tiny_dataset.name, None, TASKS)
    assert kinds(evaluators) == [f"{name}Evaluator" for name in expected]


def test_only_the_tasks_asked_for(tiny_dataset):
    assert kinds(evaluators_for(tiny_dataset.name, None, ["semantic"])) == ["SemanticEvaluator"]


def test_the_whole_set_runs_on_perfect_outputs(tiny_dataset, tmp_path):
    evaluators = evaluators_for(tiny_dataset.name, str(tmp_path / "out"), ["panoptic", "semantic", "instance"])
    results = tiny_dataset.evaluate(evaluators)
    assert {results[t][m] for t, m in (("panoptic_seg", "PQ"), ("sem_seg", "mIoU"))} == {100.0}
    assert results["segm"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    "evaluator_type, tasks, message",
    [
        ("coco_panoptic_seg", ["panoptics"], r"Unknown tasks \['panoptics'\]"),
        ("cityscapes", ["panoptic"], "evaluator_type 'cityscapes', for which there is no evaluator; known: coco"),
        (None, ["panoptic"], "no metadata 'evaluator_type'"),
        ("sem_seg", ["instance"], "Nothing to evaluate .*answers instance"),
        ("sem_seg", [], "Nothing to evaluate .*answers nothing"),
    ],
)
def test_refuses(tiny_dataset, evaluator_type, tasks, message):
    del tiny_dataset.metadata.evaluator_type
    tiny_dataset.metadata.evaluator_type = evaluator_type
    with pytest.raises(ValueError, match=message):
        evaluators_for(tiny_dataset.name, None, tasks)


def config(architecture="MaskCLIP", source="mask2former", **switches):
    test = SimpleNamespace(**{"PANOPTIC_ON": False, "SEMANTIC_ON": False, "INSTANCE_ON": False, **switches})
    masqclip = SimpleNamespace(PROPOSER=SimpleNamespace(SOURCE=source))
    model = SimpleNamespace(META_ARCHITECTURE=architecture, MASK_FORMER=SimpleNamespace(TEST=test), MASQCLIP=masqclip)
    return SimpleNamespace(MODEL=model)


def test_tasks_follow_the_configuration():
    assert tasks_of_config(config("MaskProposer", PANOPTIC_ON=True)) == ("proposals",)
    assert tasks_of_config(config(PANOPTIC_ON=True, INSTANCE_ON=True)) == ("panoptic", "instance")
    assert tasks_of_config(config(SEMANTIC_ON=True, source="ground_truth")) == ("semantic", "mask_classification")
