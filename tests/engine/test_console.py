"""The console stays short; log.txt and metrics.json have everything."""

import json
import logging
import os
import re

import pytest

from masqclip_d2.cli.train import main
from masqclip_d2.engine import launch
from masqclip_d2.engine.console import WithoutDumps
from tests.helpers import TINY_PROPOSER, tiny_clip_file


@pytest.fixture
def arguments(tmp_path, mini_shapes):
    def build(*flags, opts=()):
        command = ["--config-file", "base/shapes", "--num-gpus", "0", *flags, *TINY_PROPOSER]
        command += ["OUTPUT_DIR", tmp_path / "output", "DATALOADER.NUM_WORKERS", "0", *opts]
        return [str(part) for part in command]

    return build


def test_an_evaluation_prints_less_than_60_lines(arguments, tmp_path, capsys):
    opts = ["MODEL.META_ARCHITECTURE", "MasQCLIP", "MODEL.MASQCLIP.CLIP.NAME", ""]
    opts += ["MODEL.MASQCLIP.CLIP.ARCHITECTURE", tiny_clip_file(tmp_path), "DATASETS.TEST", "('mini_shapes_val',)"]
    main(arguments("--eval-only", opts=opts))
    console = capsys.readouterr().out
    log = (tmp_path / "output" / "log.txt").read_text()
    assert len(console.splitlines()) < 60, console
    assert "PQ" in console and "mIoU" in console and str(tmp_path / "output" / "log.txt") in console
    for dump in ("MASK_FORMER", "MasQCLIP(", "Command line arguments", "copypaste:"):  # configuration, model, ...
        assert dump not in console and dump in log, dump
    assert "torchvision" in log and "torchvision" not in console  # environment


def test_a_training_line_has_the_losses_of_the_final_output(arguments, tmp_path, capsys):
    opts = ["DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "()", "SOLVER.MAX_ITER", "21"]
    opts += ["SOLVER.IMS_PER_BATCH", "2", "MODEL.MASK_FORMER.DEC_LAYERS", "3"]
    main(arguments(opts=opts))
    lines = [line for line in capsys.readouterr().out.splitlines() if "iter: " in line and "total_loss" in line]
    assert lines
    for line in lines:
        assert re.findall(r"\b(\w*loss\w*):", line) == ["total_loss", "loss_ce", "loss_mask", "loss_dice"]
    assert re.search(r"eta: .* iter: 19 .*\blr: ", lines[0])
    metrics = json.loads((tmp_path / "output" / "metrics.json").read_text().splitlines()[-1])
    assert {"loss_ce", "loss_ce_0", "loss_ce_1", "loss_dice_1", "total_loss"} <= metrics.keys()


def test_the_traceback_of_a_training_is_in_the_log_only():
    record = logging.makeLogRecord({"name": "detectron2.engine.train_loop", "msg": "Exception during training:"})
    assert not WithoutDumps().filter(record)
    record.msg = "Starting training from iteration 0"
    assert WithoutDumps().filter(record)


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_an_interrupted_training_says_how_to_continue(arguments, tmp_path, capsys, monkeypatch, has_checkpoint):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "run_processes", interrupt)
    if has_checkpoint:
        (tmp_path / "output").mkdir()
        (tmp_path / "output" / "model_0000019.pth").touch()
    with pytest.raises(SystemExit) as stopped:
        main(arguments())
    error = capsys.readouterr().err
    assert stopped.value.code == 130 and "error: interrupted." in error
    expected = "model_0000019.pth; the same command with --resume continues from it."
    assert (expected if has_checkpoint else "No checkpoint has been written yet") in error


def test_a_console_that_is_closed_ends_the_run_silently(arguments, tmp_path, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr("sys.stdout", os.fdopen(writer, "w", buffering=1))
    with pytest.raises(SystemExit) as ended:
        main(
            arguments(opts=["SOLVER.MAX_ITER", "5", "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "()"])
        )
    assert ended.value.code == 141 and "BrokenPipeError" not in capsys.readouterr().err
    assert not list((tmp_path / "output").glob("model_*"))
