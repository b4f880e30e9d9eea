"""--import: a user's own Python registers datasets before a command looks for them."""

import json
import sys

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from masqclip_d2.cli.check_data import main as check_data
from masqclip_d2.cli.run_stages import main as run_stages
from masqclip_d2.cli.train import main as train
from masqclip_d2.user_code import import_user_code
from tests.helpers import TINY_PROPOSER


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """What a test imports and registers is gone after it."""
    modules, names, path = set(sys.modules), set(DatasetCatalog.list()), list(sys.path)
    yield
    for name in set(DatasetCatalog.list()) - names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    for name in set(sys.modules) - modules:
        if "my_data" in name or "masqclip_user" in name:
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def my_data(tmp_path, shapes_root):
    """A file of five lines that registers the instances of a Shapes folder under a name of its own."""
    path = tmp_path / "my_data.py"
    path.write_text(
        "import masqclip_d2\n"
        f"root = {str(shapes_root)!r}\n"
        "masqclip_d2.register_instances('my_val', root + '/val', root + '/annotations/instances_val.json')\n"
    )
    return path


def evaluate(output, *words):
    opts = [*TINY_PROPOSER, "DATASETS.TEST", "('my_val',)", "OUTPUT_DIR", output, "DATALOADER.NUM_WORKERS", "0"]
    train([str(w) for w in (*words, "--config-file", "base/shapes", "--num-gpus", "0", "--eval-only", *opts)])


def error_of(capsys, command, *argv):
    with pytest.raises(SystemExit) as stopped:
        command(*argv)
    assert stopped.value.code == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_train_net_knows_a_users_dataset(tmp_path, my_data):
    evaluate(tmp_path / "output", "--import", my_data)
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    assert "AR@100" in results["results"]["my_val"]["proposals"]


def test_without_the_file_it_does_not(tmp_path, capsys):
    assert "my_val" in error_of(capsys, evaluate, tmp_path)


def test_a_module_of_the_current_folder(tmp_path, my_data, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    check_data(["--import", "my_data", "my_val"])
    assert "1 of 1 datasets passed all checks." in capsys.readouterr().out


def test_run_stages_passes_it_to_every_stage(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my_data.py", "more.py"):
        (tmp_path / name).touch()
    run_stages(["--dry-run", "--import", "my_data.py", "--import", "more.py", "shapes/maskclip"])
    commands = capsys.readouterr().out.strip().splitlines()
    assert len(commands) == 3 and all("--import my_data.py --import more.py" in line for line in commands)


def test_files_keep_apart_from_each_other_and_from_packages(tmp_path):
    import numpy

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "numpy.py").write_text(f"from pathlib import Path\nPath(__file__ + '.{folder}').touch()\n")
        import_user_code([str(tmp_path / folder / "numpy.py")])
        assert (tmp_path / folder / f"numpy.py.{folder}").exists()
    assert sys.modules["numpy"] is numpy


def test_a_file_is_run_once(tmp_path):
    path = tmp_path / "my_data.py"
    path.write_text("import sys\nsys.my_data_runs = getattr(sys, 'my_data_runs', 0) + 1\n")
    import_user_code([str(path), str(path)])
    import_user_code([str(path)])
    assert sys.my_data_runs == 1
    del sys.my_data_runs


def test_errors_are_one_sentence(tmp_path, capsys):
    assert "there is no file" in error_of(capsys, evaluate, tmp_path, "--import", "nowhere.py")
    assert "no_such_module" in error_of(capsys, evaluate, tmp_path, "--import", "no_such_module")
    path = tmp_path / "my_data.py"
    path.write_text("import masqclip_d2\nmasqclip_d2.register_instances('my_val', 'nowhere', 'nowhere.json')\n")
    error = error_of(capsys, evaluate, tmp_path, "--import", path)
    assert error.startswith("error: Dataset 'my_val': there is no image folder nowhere")
    assert not [name for name in sys.modules if name.startswith("masqclip_user_my_data")]  # it may be mended
