"""Rows share stages, finished stages are not run again, and runs of other settings are not mixed."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from masqclip_d2.config import load_config
from projects.shapes_results.rows import ORDERINGS, ROWS
from projects.shapes_results.run import Experiment, main
from tests.forked import run_and_print

ROW = {row.key: row for row in ROWS}
SEGMENTER = {
    "panoptic_seg": {"PQ": 10.0, "PQ_base": 12.0, "PQ_novel": 8.0, "SQ": 50.0, "RQ": 20.0},
    "sem_seg": {"mIoU": 30.0},
    "segm": {"AP": 5.0, "AP50": 9.0},
}
PROPOSER = {"proposals": {"AR@100": 40.0, "AR@100_novel": None}}


@pytest.fixture
def runs(monkeypatch, shapes_root):
    """Trainings and evaluations are replaced by fakes; the list of (config, output folder, mode)."""
    few = ("maskclip_worma", "maskclip", "maskclip_gt", "masqclip_rounds_0")  # planning all takes seconds
    monkeypatch.setattr("projects.shapes_results.run.ROWS", tuple(ROW[key] for key in few))
    monkeypatch.setattr("projects.shapes_results.run.ORDERINGS", ORDERINGS[1:2])
    monkeypatch.setattr("projects.shapes_results.run.Experiment.dataset", "masqclip_shapes_val")
    monkeypatch.setattr("projects.shapes_results.run.Experiment.data", {"world_version": 3, "spec": {"seed": 5}})
    monkeypatch.setattr("detectron2.data.DatasetCatalog.get", lambda name: [{}] * 6)
    done = []

    def train_or_evaluate(words, check):
        settings = dict(zip(words[9::2], words[10::2], strict=True))
        folder, how = Path(settings["OUTPUT_DIR"]), words[8]
        config = Path(words[5]).stem
        done.append((config, str(folder), how))
        if config in done_badly:
            return type("Result", (), {"returncode": 1})
        folder.mkdir(parents=True, exist_ok=True)
        if how == "--resume":
            (folder / "model_final.pth").write_text(str(sorted(settings.items())))
            (folder / "last_checkpoint").write_text("model_final.pth")
        else:
            metrics = PROPOSER if config in ("teacher", "student", "teacher_mask_rcnn") else SEGMENTER
            results = {"results": {"masqclip_shapes_val": metrics}, "versions": {"torch": "2.9"}}
            (folder / "results.json").write_text(json.dumps(results))
        return type("Result", (), {"returncode": 0})

    done_badly = set()
    monkeypatch.setattr(subprocess, "run", train_or_evaluate)
    done_list = Runs(done)
    done_list.fail = done_badly
    return done_list


class Runs:
    """The runs since the last call of `take`."""

    def __init__(self, done):
        self.done = done

    def take(self) -> list[tuple[str, str, str]]:
        taken, self.done[:] = list(self.done), []
        return taken


def call(tmp_path, *words) -> dict:
    main(["--output-root", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs"), "--num-gpus", "0", *words])
    return json.loads((tmp_path / "docs" / "shapes_results.json").read_text())


def test_a_folder_belongs_to_one_command_and_rows_have_their_own():
    experiment = Experiment((0, 1), Path("runs"))
    commands: dict[str, str] = {}
    for seed in experiment.seeds:
        for row in ROWS:
            stages = experiment.stages(row, seed)
            assert stages[-1].eval_only and stages[-1].output == Path(f"runs/seed_{seed}/shapes/{row.key}")
            for stage in stages:
                assert commands.setdefault(experiment.name(stage), stage.shell_command(1)) == stage.shell_command(1)
                assert stage.settings["SEED"] == ("0" if experiment.name(stage).startswith("shared/") else str(seed))
    trained = [name for name in commands if name.startswith(("seed_0", "shared/")) and name.endswith("(training)")]
    assert sum("teacher" in name for name in trained) == 2 and sum("student/" in name for name in trained) == 3
    assert len(trained) == 2 + 3 + sum(row.train for row in ROWS)


def test_stages_of_a_row():
    experiment = Experiment((0,), Path("runs"))

    def stages_of(key):
        return [
            tuple(re.sub("^runs/(seed_0|shared)/shapes/", "", str(path)) for path in (stage.output, weights))
            for stage in experiment.stages(ROW[key], 0)
            for weights in [stage.settings.get("MODEL.WEIGHTS", "")]
        ]

    teacher = [("teacher", ""), ("teacher", "teacher/model_final.pth")]  # training, then the recall of its proposals
    assert stages_of("maskclip_worma") == [*teacher, ("maskclip_worma", "teacher/model_final.pth")]
    assert stages_of("masqclip_rounds_0")[:3] == [*teacher, ("masqclip_rounds_0", "teacher/model_final.pth")]
    assert stages_of("masqclip_rounds_3") == [
        ("teacher", ""),
        ("student/round_1", "teacher/model_final.pth"),
        ("student/round_2", "student/round_1/model_final.pth"),
        ("student/round_3", "student/round_2/model_final.pth"),
        ("student/round_3", "student/round_3/model_final.pth"),
        ("masqclip_rounds_3", "student/round_3/model_final.pth"),
        ("masqclip_rounds_3", "masqclip_rounds_3/model_final.pth"),
    ]
    assert stages_of("masqclip_no_object_score")[-2:] == [
        ("masqclip", "student/round_2/model_final.pth"),
        ("masqclip_no_object_score", "masqclip/model_final.pth"),
    ]
    assert stages_of("masqclip_no_tuning")[-1] == ("masqclip_no_tuning", "student/round_2/model_final.pth")
    assert stages_of("maskclip_gt") == [  # no recall: it classifies ground-truth masks, not the teacher's
        ("teacher", ""),
        ("maskclip", "teacher/model_final.pth"),
        ("maskclip_gt", "maskclip/model_final.pth"),
    ]
    assert stages_of("maskclip_mask_rcnn")[0] == ("teacher_mask_rcnn", "")
    assert stages_of("clip_baseline_gt") == [("clip_baseline_gt", "")]


def test_teachers_are_shared_by_all_seeds():
    experiment = Experiment((0, 1), Path("runs"))
    first, second = (experiment.stages(ROW["masqclip"], seed) for seed in (0, 1))
    assert first[0] == second[0] and first[0].output == Path("runs/shared/shapes/teacher")
    assert second[1].output == Path("runs/seed_1/shapes/student/round_1")
    assert second[1].settings["MODEL.WEIGHTS"] == "runs/shared/shapes/teacher/model_final.pth"


def test_a_trained_clip_is_shared_by_all_seeds():
    experiment = Experiment((0, 1), Path("runs"), train_clip=True)
    closeups, clip, teacher, *_, maskclip, _ = experiment.stages(ROW["maskclip"], 1)
    assert str(closeups.output) == "runs/shared/shapes/clip_closeups" and closeups.output.parent == clip.output.parent
    assert "MODEL.MASQCLIP.CLIP.NAME" not in teacher.settings
    assert maskclip.settings["MODEL.MASQCLIP.CLIP.NAME"] == "runs/shared/shapes/clip/clip.safetensors"


def test_the_page_of_configurations_has_the_same_rows():
    text = Path("docs/paper_rows.md").read_text().split("## The same rows on Shapes")[1]
    assert set(re.findall(r"`(shapes/\w+)`", text)) == {row.config for row in ROWS}
    assert load_config("shapes/masqclip").MODEL.MASQCLIP.DISTILLATION.ROUNDS == 2  # the row "2 rounds" relies on it


def test_finished_rows_are_not_run_again(tmp_path, runs, capsys):
    content = call(tmp_path, "--seeds", "0", "1", "--rows", "maskclip_worma", "maskclip")
    rows = [("maskclip_worma", "--eval-only"), ("maskclip", "--resume"), ("maskclip", "--eval-only")]
    teacher = [("teacher", "--resume"), ("teacher", "--eval-only")]
    assert [(config, how) for config, _, how in runs.take()] == [*teacher, *rows, *rows]
    assert "stage 8 of 8, seed 1, MaskCLIP: evaluation (seed_1/shapes/maskclip (evaluation))" in capsys.readouterr().out

    again = call(tmp_path, "--seeds", "0", "1", "--rows", "maskclip_worma", "maskclip")
    assert runs.take() == [] and again == content
    # Another row starts from the finished stages, and finished rows stay in the table.
    more = call(tmp_path, "--seeds", "0", "1", "--rows", "maskclip_gt")
    assert [config for config, *_ in runs.take()] == ["maskclip_gt", "maskclip_gt"]
    measured = [row["key"] for row in more["rows"] if row["seeds"]]
    assert measured == ["maskclip_worma", "maskclip", "maskclip_gt"]
    # Metrics stay if the weights are deleted to save space.
    for weights in (tmp_path / "runs").rglob("model_final.pth"):
        weights.unlink()
    assert call(tmp_path, "--seeds", "0", "1", "--rows", "maskclip_gt")["rows"] == more["rows"]
    assert runs.take() == []


def test_json_has_metrics_commands_and_minutes(tmp_path, runs):
    content = call(tmp_path, "--seeds", "0", "1", "--rows", "maskclip_worma")
    assert content["dataset"] == "masqclip_shapes_val" and content["num_images"] == 6 and content["seeds"] == [0, 1]
    assert content["versions"] == [{"torch": "2.9"}] and content["devices"] == [f"CPU, {os.cpu_count()} cores"]
    assert content["clip"] == "masqclip://shapes_clip" and content["command"].startswith(
        "python -m projects.shapes_results"
    )
    rows = {row["key"]: row for row in content["rows"]}
    row = rows["maskclip_worma"]
    assert row["config"] == "shapes/maskclip_worma" and row["mean"]["PQ_novel"] == 8.0
    assert row["mean"]["AR@100_all"] == 40.0 and row["mean"]["AR@100_novel"] is None
    assert row["deviation"]["PQ_novel"] == 0.0 and set(row["seeds"]) == {"0", "1"}
    assert set(row["seeds"]["0"]["minutes"]) == {
        "shared/shapes/teacher (training)",
        "shared/shapes/teacher (evaluation)",
        "seed_0/shapes/maskclip_worma (evaluation)",
    }
    assert content["orderings"][0]["claim"] == "RMA > without RMA"
    assert row["commands"][0].startswith("python train_net.py --config-file configs/shapes/teacher.yaml --num-gpus 0")
    assert rows["maskclip"]["mean"] == {} and rows["maskclip"]["seeds"] == {}
    page = (tmp_path / "docs" / "shapes_results.md").read_text()
    assert "| MaskCLIP w/o RMA | 12.00 (0.00) | 8.00 (0.00) | 10.00 (0.00) | 2 |" in page and "| MaskCLIP | - |" in page


def test_a_training_that_ends_with_its_evaluation_is_not_evaluated_again(tmp_path, runs, monkeypatch):
    fake = subprocess.run

    def with_evaluation(words, check):
        result = fake(words, check)
        if "--resume" in words:
            fake([word if word != "--resume" else "--eval-only" for word in words], check)
            runs.done.pop()
        return result

    monkeypatch.setattr(subprocess, "run", with_evaluation)
    content = call(tmp_path, "--seeds", "0", "--rows", "maskclip")
    assert [how for *_, how in runs.take()] == ["--resume", "--resume"]
    assert {row["key"]: row for row in content["rows"]}["maskclip"]["mean"]["PQ_all"] == 10.0


def test_an_interrupted_stage_and_the_stages_after_it_run_again(tmp_path, runs):
    call(tmp_path, "--seeds", "0", "--rows", "maskclip")
    runs.take()
    (tmp_path / "runs/seed_0/shapes/maskclip/last_checkpoint").write_text("model_0000007.pth")
    (tmp_path / "runs/seed_0/shapes/maskclip/results.json").unlink()
    call(tmp_path, "--seeds", "0", "--rows", "maskclip")
    assert [(config, how) for config, _, how in runs.take()] == [("maskclip", "--resume"), ("maskclip", "--eval-only")]


def test_other_settings_are_not_mixed_with_the_same_row(tmp_path, runs, capsys):
    call(tmp_path, "--seeds", "0", "--rows", "maskclip_worma")
    runs.take()
    with pytest.raises(SystemExit):
        call(tmp_path, "--seeds", "0", "--rows", "maskclip_worma", "--opts", "SOLVER.MAX_ITER", "7")
    assert runs.take() == []
    error = capsys.readouterr().err
    assert "shared/shapes/teacher holds a training with other settings" in error and "another --output-root" in error
    content = json.loads((tmp_path / "docs" / "shapes_results.json").read_text())
    assert not any(row["seeds"] for row in content["rows"])
    # Settings that cannot change metrics do not matter; other weights are evaluated again.
    arguments = ["--seeds", "0", "--rows", "maskclip_worma", "--opts", "DATALOADER.NUM_WORKERS", "0"]
    call(tmp_path, *arguments)
    assert runs.take() == []
    teacher = tmp_path / "runs/shared/shapes/teacher/model_final.pth"
    teacher.write_text("other weights")
    call(tmp_path, *arguments)
    assert [(config, how) for config, _, how in runs.take()] == [
        ("teacher", "--eval-only"),
        ("maskclip_worma", "--eval-only"),
    ]


def test_rows_that_need_a_failed_stage_are_skipped(tmp_path, runs, capsys):
    runs.fail.add("maskclip")
    rows = ("maskclip", "maskclip_worma", "maskclip_gt", "masqclip_rounds_0")
    with pytest.raises(SystemExit) as stopped:
        call(tmp_path, "--seeds", "0", "--rows", *rows)
    captured = capsys.readouterr()
    assert stopped.value.code == 1 and "error: 1 stages failed: seed_0/shapes/maskclip (training)." in captured.err
    assert "MaskCLIP + ground-truth masks: skipped, since seed_0/shapes/maskclip (training) failed." in captured.out
    content = json.loads((tmp_path / "docs" / "shapes_results.json").read_text())
    assert [row["key"] for row in content["rows"] if row["seeds"]] == ["maskclip_worma", "masqclip_rounds_0"]
    runs.fail.clear()
    runs.take()
    call(tmp_path, "--seeds", "0", "--rows", *rows)
    assert {config for config, *_ in runs.take()} == {"maskclip", "maskclip_gt"}


def test_dry_run_prints_each_command_once_and_runs_none(tmp_path, runs, capsys):
    main(["--seeds", "0", "--rows", "maskclip_worma", "maskclip", "--dry-run", "--output-root", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert runs.take() == [] and not os.listdir(tmp_path)
    assert [line for line in lines if line.startswith("#")] == ["# seed 0, MaskCLIP w/o RMA", "# seed 0, MaskCLIP"]
    assert len([line for line in lines if line.startswith("python train_net.py")]) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "masclip"], "no row 'masclip'; --rows takes clip_baseline"),
        (["--opts", "SEED", "3"], "SEED is set by --seeds"),
        (["--opts", "SOLVER.MAX_ITERS", "3"], "Did you mean SOLVER.MAX_ITER"),
        (["--opts", "DATASETS.TEST", "('a', 'b')"], "one validation set"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        main(["--output-root", str(tmp_path), "--docs", str(tmp_path), *words])
    error = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and message in error and "\n" not in error and not os.listdir(tmp_path)


@pytest.mark.slow
def test_two_rows_from_training_to_the_page(tmp_path, shapes_root, capfd, monkeypatch):
    """Two steps of the teacher, evaluations on six images, in processes of their own, then the page."""
    monkeypatch.chdir(shapes_root.parent.parent)
    monkeypatch.setenv("DETECTRON2_DATASETS", "datasets")
    monkeypatch.setattr("detectron2.data.DatasetCatalog.get", lambda name: [{}] * 6)
    monkeypatch.setattr(subprocess, "run", run_and_print)
    small = ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0"]
    small += ["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "5", "MODEL.MASK_FORMER.DEC_LAYERS", "2"]
    words = ["--seeds", "3", "--rows", "maskclip_worma", "maskclip_worma_gt", "--opts", *small]
    content = call(tmp_path, *words)
    rows = {row["key"]: row for row in content["rows"]}
    assert rows["maskclip_worma"]["mean"]["PQ_all"] is not None
    assert rows["maskclip_worma"]["mean"]["AR@100_novel"] is not None
    with_gt = rows["maskclip_worma_gt"]["mean"]
    assert with_gt["PQ_all"] > 0 and with_gt["AR@100_all"] is None  # there is no proposer
    assert content["hours"] > 0 and content["data"]["spec"]["seed"] == 5
    assert content["versions"][0]["torch"]
    assert capfd.readouterr().out.count("minutes.") == 3  # the teacher's training includes its evaluation
    call(tmp_path, *words)
    assert capfd.readouterr().out.count("already finished, skipped.") == 2
