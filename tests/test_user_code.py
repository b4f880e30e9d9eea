"""--import: a user's own Python registers datasets, proposers, backbones and heads before a command needs them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
from PIL import Image

from masqclip_d2 import Predictor, config
from masqclip_d2.cli.check_data import main as check_data
from masqclip_d2.cli.demo import main as demo
from masqclip_d2.cli.evaluate_predictions import main as evaluate_predictions
from masqclip_d2.cli.run_stages import main as run_stages
from masqclip_d2.cli.train import main as train
from masqclip_d2.data.mappers import MAPPERS
from masqclip_d2.proposer import PROPOSER_REGISTRY
from masqclip_d2.user_code import import_user_code, unknown_name
from tests.helpers import TINY_PROPOSER, five_categories, tiny_clip_file

REGISTRIES = (PROPOSER_REGISTRY, BACKBONE_REGISTRY, SEM_SEG_HEADS_REGISTRY, META_ARCH_REGISTRY)


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """Modules and registrations of a test are removed after it."""
    modules, names, path = set(sys.modules), set(DatasetCatalog.list()), list(sys.path)
    tables = [*(registry._obj_map for registry in REGISTRIES), MAPPERS]
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    for name in set(DatasetCatalog.list()) - names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    for name in set(sys.modules) - modules:
        if "my_data" in name or "my_parts" in name or "masqclip_user" in name:
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def my_data(tmp_path, shapes_root):
    """A file that registers the instances of a Shapes folder under another name."""
    path = tmp_path / "my_data.py"
    path.write_text(
        "import masqclip_d2\n"
        f"root = {str(shapes_root)!r}\n"
        "masqclip_d2.register_instances('my_val', root + '/val', root + '/annotations/instances_val.json')\n"
    )
    return path


MY_PARTS = """
import numpy as np
import torch
from detectron2.modeling import BACKBONE_REGISTRY, SEM_SEG_HEADS_REGISTRY, Backbone
from masqclip_d2 import MaskProposals
from masqclip_d2.proposer import PROPOSER_REGISTRY, MaskProposalHead, Proposer


@PROPOSER_REGISTRY.register()
class MyQuarters(Proposer):
    def __init__(self, cfg):
        super().__init__()

    def propose(self, batched_inputs):
        return [self.quarters(*record["image"].shape[-2:]) for record in batched_inputs]

    def quarters(self, height, width):
        masks = torch.zeros(4, height, width, dtype=torch.bool, device=self.device)
        for mask, (top, left) in zip(masks, np.ndindex(2, 2)):
            mask[top * height // 2 : (top + 1) * height // 2, left * width // 2 : (left + 1) * width // 2] = True
        return MaskProposals.from_binary_masks(masks)


@BACKBONE_REGISTRY.register()
class MyBackbone(Backbone):
    def __init__(self, cfg, input_shape):
        super().__init__()
        self._out_feature_strides = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, 16)
        for name, stride in self._out_feature_strides.items():
            self.add_module(name, torch.nn.Conv2d(input_shape.channels, 16, stride, stride))

    def forward(self, x):
        return {name: getattr(self, name)(x) for name in self._out_features}


@SEM_SEG_HEADS_REGISTRY.register()
class MyHead(MaskProposalHead):
    pass
"""


@pytest.fixture
def my_parts(tmp_path):
    """A file that registers a proposer, a backbone and a head."""
    path = tmp_path / "my_parts.py"
    path.write_text(MY_PARTS)
    return path


def run_train(*words):
    train([str(word) for word in ("--config-file", "base/shapes", "--num-gpus", "0", *words)])


def evaluate(output, *words):
    opts = [*TINY_PROPOSER, "DATASETS.TEST", "('my_val',)", "OUTPUT_DIR", output, "DATALOADER.NUM_WORKERS", "0"]
    run_train(*words, "--eval-only", *opts)


def error_of(capsys, command, *argv):
    with pytest.raises(SystemExit) as stopped:
        command(*argv)
    assert stopped.value.code == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_train_finds_a_users_dataset(tmp_path, my_data):
    evaluate(tmp_path / "output", "--import", my_data)
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    assert "AR@100" in results["results"]["my_val"]["proposals"]


def test_without_the_file_the_dataset_is_unknown(tmp_path, capsys):
    assert "my_val" in error_of(capsys, evaluate, tmp_path)


SHORT = (
    "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "('mini_shapes_val',)", "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.STEPS", "()", "TEST.EVAL_PERIOD", "0",
    "TEST.SAVE_PREDICTIONS", "True",
)  # fmt: skip


def test_a_users_backbone_and_head_are_trained_and_evaluated(tmp_path, mini_shapes, my_parts):
    parts = ("MODEL.BACKBONE.NAME", "MyBackbone", "MODEL.SEM_SEG_HEAD.NAME", "MyHead", "OUTPUT_DIR", tmp_path / "out")
    options = (*TINY_PROPOSER, *SHORT, *parts, "TEST.SAVE_PREDICTIONS", "False")
    run_train("--import", my_parts, *options)
    weights = tmp_path / "out" / "model_final.pth"
    run_train("--import", my_parts, "--eval-only", *options, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path / "again")
    first, second = (json.loads((tmp_path / name / "results.json").read_text())["results"] for name in ("out", "again"))
    assert first == second and "AR@100" in first["mini_shapes_val"]["proposals"]


def test_a_users_proposer_works_in_every_command(tmp_path, mini_shapes, my_parts):
    model = (
        "MODEL.META_ARCHITECTURE", "MasQCLIP", "MODEL.MASQCLIP.PROPOSER.SOURCE", "MyQuarters",
        "MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path)),
        "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0", "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", "0.0",
    )  # fmt: skip
    run_train("--import", my_parts, *TINY_PROPOSER, *SHORT, *model, "OUTPUT_DIR", tmp_path / "out")
    model = (*TINY_PROPOSER, *model, "MODEL.WEIGHTS", str(tmp_path / "out" / "model_final.pth"))
    run_train("--import", my_parts, "--eval-only", *SHORT, *model, "OUTPUT_DIR", tmp_path / "again")
    evaluate_predictions(["--import", str(my_parts), str(tmp_path / "again"), "--output", str(tmp_path / "third")])
    files = (tmp_path / name / "results.json" for name in ("out", "again", "third"))
    results = [json.loads(file.read_text())["results"] for file in files]
    assert results[0] == results[1] == results[2] and "PQ" in results[0]["mini_shapes_val"]["panoptic_seg"]

    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    names = ["--vocab", "striped circle,dotted star", "--config-file", "base/shapes", "--task", "instance"]
    files = ["--input", str(tmp_path / "image.png"), "--output", str(tmp_path / "drawn")]
    demo(["--import", str(my_parts), *names, *files, "--opts", *model])
    content = json.loads((tmp_path / "drawn" / "image.json").read_text())
    assert {segment["area"] for segment in content["segments"]} == {20 * 30}

    predictor = Predictor("base/shapes", opts=model, imports=[my_parts])
    found = predictor(pixels, five_categories(), task="instance")
    assert {segment.area for segment in found.segments} == {20 * 30}


def test_without_the_file_the_proposer_is_unknown(tmp_path, mini_shapes, capsys):
    source = ("MODEL.MASQCLIP.PROPOSER.SOURCE", "MyQuarters")
    error = error_of(capsys, run_train, "--eval-only", *TINY_PROPOSER, *SHORT, *source, "OUTPUT_DIR", tmp_path)
    assert "PROPOSER.SOURCE is 'MyQuarters'; known: " in error and "--import FILE" in error


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


def test_files_do_not_shadow_each_other_or_packages(tmp_path):
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


def test_unknown_names_are_refused_with_the_known_ones():
    error = unknown_name("A.KEY", "MyProposr", iter(["MyProposer", "Other"]))
    assert str(error).startswith("A.KEY is 'MyProposr'; known: MyProposer, Other. Did you mean 'MyProposer'? A name of")
    assert "known: none. A name" in str(unknown_name("A.KEY", "x", []))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_single_file_needs_no_list(tmp_path, kind):
    path = tmp_path / "my_data.py"
    path.write_text("from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n")
    import_user_code(kind(path))
    assert path.with_suffix(".ran").exists()


def test_a_files_own_keys_are_known_to_commands(tmp_path, mini_shapes, monkeypatch):
    monkeypatch.setattr(config, "_further_keys", [])
    path = tmp_path / "my_parts.py"
    path.write_text(
        "from masqclip_d2.config import register_config_keys\n"
        "@register_config_keys\n"
        "def add_keys(cfg):\n"
        "    cfg.MY_NUMBER = 1\n"
    )
    options = (
        *TINY_PROPOSER,
        *SHORT,
        "MY_NUMBER",
        "3",
        "OUTPUT_DIR",
        tmp_path / "out",
        "TEST.SAVE_PREDICTIONS",
        "False",
    )
    run_train("--import", path, *options)
    assert "MY_NUMBER: 3" in (tmp_path / "out" / "config.yaml").read_text()


def test_errors_are_one_sentence(tmp_path, capsys):
    assert "nowhere.py does not exist" in error_of(capsys, evaluate, tmp_path, "--import", "nowhere.py")
    assert "no_such_module" in error_of(capsys, evaluate, tmp_path, "--import", "no_such_module")
    path = tmp_path / "my_data.py"
    path.write_text("import masqclip_d2\nmasqclip_d2.register_instances('my_val', 'nowhere', 'nowhere.json')\n")
    error = error_of(capsys, evaluate, tmp_path, "--import", path)
    assert error.startswith("error: Dataset 'my_val': there is no image folder nowhere")
    assert not [name for name in sys.modules if name.startswith("masqclip_user_my_data")]  # it can be imported again
