"""run_stages: the right stages in order, with the right weights; finished ones skipped, broken-off ones resumed."""

import json
import os
import re
from pathlib import Path

import pytest
import torch

from masqclip_d2.cli import run_stages
from masqclip_d2.cli.run_stages import main, plan


def settings(stage) -> dict[str, str]:
    return dict(zip(stage.opts[::2], stage.opts[1::2], strict=True))


def test_masqclip_has_a_teacher_two_rounds_tuning_and_evaluation():
    stages = plan("masqclip_r50", [])
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
    stages = plan("shapes/masqclip", ["MODEL.MASQCLIP.DISTILLATION.ROUNDS", str(rounds)], "elsewhere")
    assert len(stages) == rounds + 3
    before_tuning = f"student/round_{rounds}" if rounds else "teacher"
    assert settings(stages[-2])["MODEL.WEIGHTS"] == f"elsewhere/shapes/{before_tuning}/model_final.pth"


def test_a_clip_of_an_earlier_stage_goes_to_those_that_read_it(tmp_path):
    clip = Path("configs/shapes/clip.yaml").resolve()
    method = tmp_path / "method.yaml"
    method.write_text(f"_BASE_: {clip.parent / 'masqclip.yaml'}\nSTAGES: [{clip}, {clip.parent / 'teacher.yaml'}]\n")
    clip_stage, teacher, masqclip, _ = plan(method, [])
    assert "MODEL.MASQCLIP.CLIP.NAME" not in settings(clip_stage)
    assert "MODEL.MASQCLIP.CLIP.NAME" not in settings(teacher)
    assert settings(masqclip)["MODEL.MASQCLIP.CLIP.NAME"] == "output/shapes/clip/clip.safetensors"
    assert settings(masqclip)["MODEL.WEIGHTS"] == "output/shapes/teacher/model_final.pth"


def test_a_configuration_that_does_not_learn_is_evaluated_with_what_comes_before():
    teacher, evaluation = plan("shapes/clip_baseline", ["SEED", "3"], stages=["teacher.yaml"], train=False)
    assert not teacher.eval_only and teacher.proposes
    assert evaluation.eval_only and evaluation.title == "evaluation" and not evaluation.proposes
    assert settings(evaluation) == {
        "SEED": "3",
        "MODEL.WEIGHTS": "output/shapes/teacher/model_final.pth",
        "OUTPUT_DIR": "output/shapes/clip_baseline",
    }


def test_own_words_and_what_earlier_stages_left_reach_only_those_that_want_them():
    clip = {"MODEL.MASQCLIP.CLIP.NAME": "clip.safetensors"}
    words = ["SOLVER.MAX_ITER", "7", "OUTPUT_DIR", "output/own"]
    teacher, maskclip, evaluation = plan("shapes/maskclip", [], "root", own_opts=words, handed_on=clip)
    assert settings(teacher) == {"OUTPUT_DIR": "root/shapes/teacher"}
    assert settings(maskclip).items() >= {**clip, "SOLVER.MAX_ITER": "7", "OUTPUT_DIR": "root/own"}.items()
    assert settings(evaluation)["MODEL.WEIGHTS"] == "root/own/model_final.pth"


def test_what_has_no_test_set_is_not_evaluated():
    assert [stage.title for stage in plan("shapes/clip", [])] == ["clip"]


def test_results_older_than_their_weights_are_not_finished(tmp_path):
    *_, evaluation = plan("shapes/maskclip", [], tmp_path)
    assert not evaluation.is_finished()
    evaluation.output.mkdir(parents=True)
    evaluation.results.write_text("{}")
    assert evaluation.is_finished()  # of weights that are not there any more
    weights = Path(settings(evaluation)["MODEL.WEIGHTS"])
    weights.write_text("")
    os.utime(weights, (0, evaluation.results.stat().st_mtime + 5))
    assert not evaluation.is_finished()


def test_a_typed_command_can_be_pasted():
    stage = plan("shapes/clip", [], handed_on={"MODEL.MASQCLIP.CLIP.ARCHITECTURE": ""})[0]
    assert stage.typed(2) == (
        "python train_net.py --config-file configs/shapes/clip.yaml --num-gpus 2 --resume "
        "MODEL.MASQCLIP.CLIP.ARCHITECTURE '' OUTPUT_DIR output/shapes/clip"
    )


def test_every_shipped_list_of_stages_names_shipped_configs():
    from masqclip_d2.config import load_config, shipped_configs

    with_stages = [name for name in shipped_configs() if load_config(name).STAGES]
    assert {"masqclip_r50", "maskclip_r50", "base_novel/masqclip_r50", "shapes/masqclip"} <= set(with_stages)
    for name in with_stages:
        assert len(plan(name, [])) >= 3


def test_dry_run_prints_commands_and_runs_none(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(run_stages.subprocess, "run", lambda *_, **__: pytest.fail("a dry run ran something"))
    main(["shapes/maskclip", "--dry-run", "--num-gpus", "0", "--output-root", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "--resume" in lines[0] and "--eval-only" in lines[2]
    assert re.search(r"--config-file \S*shapes/maskclip.yaml --num-gpus 0", lines[1])


def test_unknown_config_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["shapes/masclip", "--num-gpus", "0"])
    error = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and error.startswith("error: ") and "shapes/masqclip" in error


SMOKE = [
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "20",
    "SOLVER.CHECKPOINT_PERIOD", "8",
    "DATALOADER.NUM_WORKERS", "0",
    "INPUT.RANDOM_FLIP", "none",
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "10",
    "MODEL.MASK_FORMER.DEC_LAYERS", "2",
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", "1",
    "MODEL.MASQCLIP.DISTILLATION.SCORE_THRESHOLD", "0.0",
]  # fmt: skip


@pytest.mark.slow
def test_all_stages_of_masqclip_on_shapes_skip_and_resume(tmp_path, shapes_root, capfd, monkeypatch):
    """20 steps of every stage from nothing: CLIP, teacher, two rounds, tuning, evaluation, each in its own process."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(shapes_root.parent))
    configs = Path("configs/shapes").resolve()
    method = tmp_path / "all.yaml"
    names = ["clip_closeups", "clip", "teacher", "student"]
    method.write_text(
        f"_BASE_: {configs / 'masqclip.yaml'}\nSTAGES: [{', '.join(str(configs / name) + '.yaml' for name in names)}]\n"
    )
    words = [str(method), "--num-gpus", "0", "--output-root", str(tmp_path / "runs"), *SMOKE]
    main(words)
    said = capfd.readouterr().out
    assert said.count("minutes.") == 6 and said.count("finished before, skipped.") == 1  # tuning ends with the numbers
    runs = tmp_path / "runs" / "shapes"
    results = json.loads((runs / "masqclip" / "results.json").read_text())["results"]
    assert {"panoptic_seg", "sem_seg", "segm"} <= set(results["masqclip_shapes_val"])

    main(words)  # everything is there
    assert capfd.readouterr().out.count("finished before, skipped.") == 7

    # The second round was killed after its first checkpoint: only it, what builds on it and the numbers run again.
    student = runs / "student" / "round_2"
    (student / "model_final.pth").unlink()
    (student / "last_checkpoint").write_text("model_0000007.pth")
    (runs / "masqclip" / "results.json").unlink()
    main(words)
    said = capfd.readouterr()
    assert said.out.count("finished before, skipped.") == 5
    assert "Starting training from iteration 8" in said.out + said.err
    assert torch.load(student / "model_final.pth", weights_only=True)["iteration"] == 19


def test_a_stage_that_fails_stops_the_rest(tmp_path, capsys, monkeypatch):
    ran = []

    def failing(words, check):
        ran.append(words)
        return type("Result", (), {"returncode": 3})

    monkeypatch.setattr(run_stages.subprocess, "run", failing)
    with pytest.raises(SystemExit) as stopped:
        main(["shapes/masqclip", "--num-gpus", "0", "--output-root", str(tmp_path)])
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and len(ran) == 1
    assert "stage 1 of 5: teacher" in error and "exit code 3" in error and "goes on from there" in error
    assert not os.listdir(tmp_path)
