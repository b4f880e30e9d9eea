"""train_net: what a user can get wrong stops with one sentence and exit code 1, before anything is trained."""

import json

import pytest
import torch

from masqclip_d2.cli.train import main
from tests.helpers import TINY_PROPOSER, tiny_clip_file

TEACHER = ["--config-file", "base/shapes", "--num-gpus", "0", *TINY_PROPOSER]


def fails(capsys, *argv) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in argv])
    captured = capsys.readouterr()
    last = captured.err.strip().splitlines()[-1]
    assert stopped.value.code == 1 and last.startswith("error: "), captured.err
    return last


def evaluate(output, *opts):
    return [*TEACHER[:4], "--eval-only", *TEACHER[4:], "OUTPUT_DIR", output, "DATALOADER.NUM_WORKERS", "0", *opts]


def test_no_config(capsys):
    assert "--config-file" in fails(capsys)


def test_unknown_config(capsys):
    assert "shapes/teacher" in fails(capsys, "--config-file", "shapes/teachr")


def test_config_typo(capsys):
    assert "SOLVER.MAX_ITER" in fails(capsys, *TEACHER, "SOLVER.MAXITER", "3")


def test_unknown_dataset_names_those_like_it(capsys, tmp_path, mini_shapes):
    error = fails(capsys, *evaluate(tmp_path, "DATASETS.TEST", "('mini_shape_val',)"))
    assert "'mini_shape_val' is not registered. Did you mean mini_shapes_val" in error


def test_missing_weights(capsys, tmp_path, mini_shapes):
    error = fails(capsys, *evaluate(tmp_path, "MODEL.WEIGHTS", tmp_path / "none.pth"))
    assert "none.pth" in error and "MODEL.WEIGHTS" in error


def test_truncated_checkpoint(capsys, tmp_path, mini_shapes):
    path = tmp_path / "cut.pth"
    torch.save({"model": {"a": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:600])
    assert "cut.pth" in fails(capsys, *evaluate(tmp_path, "MODEL.WEIGHTS", path))


def test_checkpoint_of_another_architecture(capsys, tmp_path, mini_shapes):
    path = tmp_path / "other.pth"
    torch.save({"model": {"backbone.fc.weight": torch.zeros(3)}}, path)
    error = fails(capsys, *evaluate(tmp_path, "MODEL.WEIGHTS", path))
    assert "other.pth" in error and "missing" in error and "backbone.fc.weight" in error


def test_missing_data_name_the_command_that_makes_them(capsys, tmp_path, mini_shapes, monkeypatch):
    from masqclip_d2.shapes.registration import register_shapes

    register_shapes(tmp_path / "nowhere", prefix="missing_")
    error = fails(capsys, *evaluate(tmp_path, "DATASETS.TEST", "('missing_shapes_val',)"))
    assert "masqclip make-shapes" in error


def test_more_gpus_than_there_are(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "--num-gpus is 8, but this machine has 2" in fails(capsys, *TEACHER[:2], "--num-gpus", "8")


def test_class_count_that_disagrees_with_the_vocabulary(capsys, tmp_path, shapes_root):
    from detectron2.data import MetadataCatalog

    from masqclip_d2.shapes.registration import register_shapes

    register_shapes(shapes_root, prefix="wrong_")
    del MetadataCatalog.get("wrong_shapes_val").vocabulary
    MetadataCatalog.get("wrong_shapes_val").vocabulary = {"names": ["cat", "dog"], "is_thing": [True, True]}
    clip = ["MODEL.META_ARCHITECTURE", "MaskCLIP", "MODEL.MASQCLIP.CLIP.NAME", ""]
    clip += ["MODEL.MASQCLIP.CLIP.ARCHITECTURE", tiny_clip_file(tmp_path)]
    error = fails(capsys, *evaluate(tmp_path, "DATASETS.TEST", "('wrong_shapes_val',)", *clip))
    assert "2 names" in error and "42 categories" in error


def test_evaluation_from_the_command_line(capsys, tmp_path, mini_shapes):
    main([str(word) for word in evaluate(tmp_path, "DATASETS.TEST", "('mini_shapes_val',)")])
    results = json.loads((tmp_path / "results.json").read_text())
    assert "AR@100" in results["results"]["mini_shapes_val"]["proposals"]
    assert "copypaste" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    "argv",
    [
        ["--config-file", "c.yaml", "--num-gpus", "0", "--resume", "A.B", "-1", "A.C", "('x',)"],
        ["A.B", "-1", "--config-file", "c.yaml", "A.C", "('x',)", "--num-gpus", "0", "--resume"],
        ["--resume", "A.B", "-1", "A.C", "('x',)", "--num-gpus", "0", "--config-file", "c.yaml"],
        ["--resume", "A.B", "-1", "--num-gpus=0", "A.C", "('x',)", "--config-file", "c.yaml"],
    ],
)
def test_flags_may_stand_between_and_after_overrides(monkeypatch, argv):
    seen = []
    monkeypatch.setattr("masqclip_d2.engine.launch.launch_training", seen.append)
    main(argv)
    assert seen[0].opts == ["A.B", "-1", "A.C", "('x',)"]
    assert (seen[0].config_file, seen[0].num_gpus, seen[0].resume) == ("c.yaml", 0, True)


def test_overrides_may_be_negative_numbers(monkeypatch):
    seen = []
    monkeypatch.setattr("masqclip_d2.engine.launch.launch_training", seen.append)
    main(["--config-file", "c.yaml", "A", "-1e-4", "B", "-inf", "--num-gpus", "0", "C", "-.5"])
    assert seen[0].opts == ["A", "-1e-4", "B", "-inf", "C", "-.5"] and seen[0].num_gpus == 0


def test_a_mistyped_flag_after_overrides(capsys):
    with pytest.raises(SystemExit):
        main(["--config-file", "shapes/teacher", "OUTPUT_DIR", "x", "--num-gpu-s", "0"])
    assert "--num-gpu-s" in capsys.readouterr().err
