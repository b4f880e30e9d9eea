"""Stages run in processes of their own; finished ones are skipped, interrupted ones resumed, a failure stops."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from masqclip_d2.engine.stages.plan import plan_stages
from masqclip_d2.engine.stages.run import run_stages
from tests.forked import run_and_print

SMOKE = [
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "4",
    "SOLVER.CHECKPOINT_PERIOD", "2",
    "DATALOADER.NUM_WORKERS", "0",
    "INPUT.RANDOM_FLIP", "none",
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "10",
    "MODEL.MASK_FORMER.DEC_LAYERS", "2",
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", "1",
    "MODEL.MASQCLIP.DISTILLATION.SCORE_THRESHOLD", "0.0",
]  # fmt: skip


@pytest.mark.slow
def test_all_stages_of_masqclip_on_shapes_skip_and_resume(tmp_path, shapes_root, capfd, monkeypatch):
    """Four steps of every stage from random weights, each stage in its own process."""
    configs = Path("configs/shapes").resolve()
    monkeypatch.chdir(shapes_root.parent.parent)
    monkeypatch.setenv("DETECTRON2_DATASETS", "datasets")
    started = []
    start = subprocess.run

    def start_quickly(words, check):
        """All but the first."""
        started.append(words)
        return start(words, check=check) if len(started) == 1 else run_and_print(words, check=check)

    monkeypatch.setattr(subprocess, "run", start_quickly)
    method = tmp_path / "all.yaml"
    names = ["clip_closeups", "clip", "teacher", "student"]
    method.write_text(
        f"_BASE_: {configs / 'masqclip.yaml'}\nSTAGES: [{', '.join(str(configs / name) + '.yaml' for name in names)}]\n"
    )
    stages = plan_stages(method, SMOKE, tmp_path / "runs")
    run_stages(stages, num_gpus=0)
    printed = capfd.readouterr().out
    assert (
        printed.count("minutes.") == 6 and printed.count("already finished, skipped.") == 1
    )  # tuning ends with an evaluation
    runs = tmp_path / "runs" / "shapes"
    results = json.loads((runs / "masqclip" / "results.json").read_text())["results"]
    assert {"panoptic_seg", "sem_seg", "segm"} <= set(results["masqclip_shapes_val"])

    run_stages(stages, num_gpus=0)  # all stages are finished
    assert capfd.readouterr().out.count("already finished, skipped.") == 7

    # The second round was killed after its first checkpoint: it, the stage after it and the evaluation run again.
    student = runs / "student" / "round_2"
    (student / "model_final.pth").unlink()
    (student / "last_checkpoint").write_text("model_0000001.pth")
    (runs / "masqclip" / "results.json").unlink()
    run_stages(stages, num_gpus=0)
    printed = capfd.readouterr()
    assert printed.out.count("already finished, skipped.") == 5
    assert "Starting training from iteration 2" in printed.out + printed.err
    assert torch.load(student / "model_final.pth", weights_only=True)["iteration"] == 3


def test_a_stage_that_fails_stops_the_rest(tmp_path, monkeypatch):
    ran = []

    def failing(command, check):
        ran.append(command)
        return type("Result", (), {"returncode": 3})

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(ValueError, match=r"stage 1 of 5: teacher .* exit code 3; the same command resumes there"):
        run_stages(plan_stages("shapes/masqclip", [], tmp_path), num_gpus=0)
    assert len(ran) == 1
    assert not os.listdir(tmp_path)
