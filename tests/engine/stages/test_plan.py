"""Plans of stages: their order, and the weights that each gets from earlier ones."""

import os
from pathlib import Path

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY

from masqclip_d2.engine.stages.plan import plan_stages


def settings(stage) -> dict[str, str]:
    return dict(zip(stage.opts[::2], stage.opts[1::2], strict=True))


def test_masqclip_has_a_teacher_two_rounds_tuning_and_evaluation():
    stages = plan_stages("masqclip_r50", [])
    assert [stage.title for stage in stages] == [
        "teacher_r50",
        "student_r50, round 1",
        "student_r50, round 2",
        "masqclip_r50",
        "evaluation",
    ]
    weights = [settings(stage).get("MODEL.WEIGHTS") for stage in stages]
    folders = ["coco/teacher_r50", "coco/student_r50/round_1", "coco/student_r50/round_2", "masqclip_r50"]
    assert weights == [None, *(f"output/{folder}/model_final.pth" for folder in folders)]
    assert [str(stage.output) for stage in stages] == [f"output/{folder}" for folder in [*folders, folders[-1]]]
    assert [stage.eval_only for stage in stages] == [False] * 4 + [True]


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_rounds_of_distillation(rounds):
    stages = plan_stages("shapes/masqclip", ["MODEL.MASQCLIP.DISTILLATION.ROUNDS", str(rounds)], "elsewhere")
    assert len(stages) == rounds + 3
    before_tuning = f"student/round_{rounds}" if rounds else "teacher"
    assert settings(stages[-2])["MODEL.WEIGHTS"] == f"elsewhere/shapes/{before_tuning}/model_final.pth"


def test_a_clip_of_an_earlier_stage_is_passed_to_models_with_a_clip(tmp_path):
    clip = Path("configs/shapes/clip.yaml").resolve()
    method = tmp_path / "method.yaml"
    method.write_text(f"_BASE_: {clip.parent / 'masqclip.yaml'}\nSTAGES: [{clip}, {clip.parent / 'teacher.yaml'}]\n")
    clip_stage, teacher, masqclip, _ = plan_stages(method, [])
    assert "MODEL.MASQCLIP.CLIP.NAME" not in settings(clip_stage)
    assert "MODEL.MASQCLIP.CLIP.NAME" not in settings(teacher)
    assert settings(masqclip)["MODEL.MASQCLIP.CLIP.NAME"] == "output/shapes/clip/clip.safetensors"
    assert settings(masqclip)["MODEL.WEIGHTS"] == "output/shapes/teacher/model_final.pth"


def test_a_configuration_without_training_is_evaluated_with_the_earlier_stages():
    teacher, evaluation = plan_stages("shapes/clip_baseline", ["SEED", "3"], stages=["teacher.yaml"], train=False)
    assert not teacher.eval_only and teacher.predicts_proposals
    assert evaluation.eval_only and evaluation.title == "evaluation" and not evaluation.predicts_proposals
    assert settings(evaluation) == {
        "SEED": "3",
        "MODEL.WEIGHTS": "output/shapes/teacher/model_final.pth",
        "OUTPUT_DIR": "output/shapes/clip_baseline",
    }


def test_own_and_inherited_settings_are_passed_only_to_stages_that_use_them():
    clip = {"MODEL.MASQCLIP.CLIP.NAME": "clip.safetensors"}
    own = ["SOLVER.MAX_ITER", "7", "OUTPUT_DIR", "output/own"]
    teacher, maskclip, evaluation = plan_stages("shapes/maskclip", [], "root", own_opts=own, inherited=clip)
    assert settings(teacher) == {"OUTPUT_DIR": "root/shapes/teacher"}
    assert settings(maskclip).items() >= {**clip, "SOLVER.MAX_ITER": "7", "OUTPUT_DIR": "root/own"}.items()
    assert settings(evaluation)["MODEL.WEIGHTS"] == "root/own/model_final.pth"


def test_without_a_test_set_there_is_no_evaluation():
    assert [stage.title for stage in plan_stages("shapes/clip", [])] == ["clip"]


def test_results_older_than_their_weights_are_not_finished(tmp_path):
    *_, evaluation = plan_stages("shapes/maskclip", [], tmp_path)
    assert not evaluation.is_finished()
    evaluation.output.mkdir(parents=True)
    evaluation.results.write_text("{}")
    assert evaluation.is_finished()  # the evaluated weights need not exist any more
    weights = Path(settings(evaluation)["MODEL.WEIGHTS"])
    weights.write_text("")
    os.utime(weights, (0, evaluation.results.stat().st_mtime + 5))
    assert not evaluation.is_finished()


def test_a_clip_that_was_not_written_is_not_finished(tmp_path):
    stage = plan_stages("shapes/clip", [], tmp_path)[0]
    stage.output.mkdir(parents=True)
    torch.save({}, stage.weights)
    (stage.output / "last_checkpoint").write_text(stage.weights.name)
    assert not stage.is_finished()
    (stage.output / "clip.safetensors").write_text("")
    assert stage.is_finished()


def test_the_shell_command_can_be_pasted():
    stage = plan_stages("shapes/clip", [], inherited={"MODEL.MASQCLIP.CLIP.ARCHITECTURE": ""})[0]
    assert stage.shell_command(2) == (
        "python train_net.py --config-file configs/shapes/clip.yaml --num-gpus 2 --resume "
        "MODEL.MASQCLIP.CLIP.ARCHITECTURE '' OUTPUT_DIR output/shapes/clip"
    )


def test_every_shipped_list_of_stages_names_shipped_configs():
    from masqclip_d2.config import load_config
    from masqclip_d2.config_files import shipped_configs

    with_stages = [name for name in shipped_configs() if load_config(name).STAGES]
    assert {"masqclip_r50", "maskclip_r50", "base_novel/masqclip_r50", "shapes/masqclip"} <= set(with_stages)
    for name in with_stages:
        assert len(plan_stages(name, [])) >= 3


def test_a_users_model_declares_its_outputs_and_inputs(tmp_path):
    """A meta-architecture that inherits nothing of this package takes part in a plan by three optional attributes."""

    class ForeignStage:
        unused_settings = ("MODEL.WEIGHTS",)

        @classmethod
        def num_rounds(cls, cfg):
            return 2

        @classmethod
        def stage_outputs(cls, output_dir):
            return {"MODEL.MASQCLIP.CLIP.NAME": f"{output_dir}/foreign.safetensors"}

    config = tmp_path / "foreign.yaml"
    config.write_text("MODEL:\n  META_ARCHITECTURE: ForeignStage\nOUTPUT_DIR: output/foreign\n")
    method = tmp_path / "method.yaml"
    shapes = Path("configs/shapes").resolve()
    method.write_text(f"_BASE_: {shapes / 'maskclip.yaml'}\nSTAGES: [{shapes / 'teacher.yaml'}, foreign.yaml]\n")
    META_ARCH_REGISTRY._do_register("ForeignStage", ForeignStage)
    try:
        stages = plan_stages(method, [], imports=["foreign.py"])
    finally:
        META_ARCH_REGISTRY._obj_map.pop("ForeignStage")
    assert [stage.title for stage in stages] == [
        "teacher", "foreign, round 1", "foreign, round 2", "method", "evaluation"
    ]  # fmt: skip
    assert "MODEL.WEIGHTS" not in settings(stages[2])
    assert settings(stages[2])["MODEL.MASQCLIP.CLIP.NAME"] == "output/foreign/round_1/foreign.safetensors"
    assert settings(stages[3])["MODEL.WEIGHTS"] == "output/shapes/teacher/model_final.pth"
    assert settings(stages[3])["MODEL.MASQCLIP.CLIP.NAME"] == "output/foreign/round_2/foreign.safetensors"
    assert all(stage.command(0)[6:8] == ["--import", "foreign.py"] for stage in stages)


def test_stages_of_a_shipped_base_are_planned_for_a_users_file(tmp_path):
    path = tmp_path / "my_method.yaml"
    path.write_text("_BASE_: shapes/masqclip\nMODEL: {MASQCLIP: {MASQ_TUNING: {LOSS_WEIGHT: 1.0}}}\n")
    mine, shipped = (plan_stages(config, [], tmp_path) for config in (path, "shapes/masqclip"))
    assert [stage.config for stage in mine[:-2]] == [stage.config for stage in shipped[:-2]]
    assert mine[-1].config == mine[-2].config == path


def test_stages_beside_a_users_file_come_first(tmp_path):
    (tmp_path / "teacher.yaml").write_text("_BASE_: shapes/teacher\n")
    path = tmp_path / "my_method.yaml"
    path.write_text("_BASE_: shapes/masqclip\n")
    assert plan_stages(path, [], tmp_path)[0].config == tmp_path / "teacher.yaml"
