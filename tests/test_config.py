"""Shipped configurations load safely and build; typos stop with a hint; every key of this package is used."""

import re
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from masqclip_d2 import config
from masqclip_d2.clip.architecture import ClipArchitecture
from masqclip_d2.clip.model import ClipModel
from masqclip_d2.config import RENAMED_KEYS, adapt_to_machine, get_masqclip_cfg, load_config, register_config_keys
from masqclip_d2.config_files import find_config, shipped_configs
from masqclip_d2.data.mappers import MAPPERS
from tests.helpers import VIT_L_336

ROOT = Path(__file__).resolve().parent.parent
RUNNABLE = [name for name in shipped_configs() if not name.startswith("base/")]


def test_there_are_configs():
    assert {"shapes/teacher", "shapes/clip", "shapes/maskclip_worma", "coco/maskclip_worma_r50"} <= set(RUNNABLE)


@pytest.mark.parametrize("name", shipped_configs())
def test_config_loads_and_its_names_are_known(name):
    cfg = load_config(name)
    assert cfg.INPUT.DATASET_MAPPER_NAME in MAPPERS
    registered = set(DatasetCatalog.list())
    assert set(cfg.DATASETS.TRAIN) <= registered and set(cfg.DATASETS.TEST) <= registered
    assert (
        all(step < cfg.SOLVER.MAX_ITER for step in cfg.SOLVER.STEPS) or "MultiStep" not in cfg.SOLVER.LR_SCHEDULER_NAME
    )


@pytest.mark.parametrize("name", shipped_configs())
def test_config_header_has_a_description_and_a_command(name):
    lines = find_config(name).read_text().splitlines()
    header = [line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]]
    assert len(header) >= 2
    if not name.startswith("base/"):
        commands = (f"--config-file configs/{name}.yaml", f"--model {name.split('/')[-1].replace('_', '-')} ")
        assert any(command in line for command in commands for line in header)


@pytest.mark.parametrize("name", RUNNABLE)
def test_config_builds_its_model(name, monkeypatch):
    cfg = load_config(name, ["MODEL.DEVICE", "meta", "MODEL.SHAPES.GROW_FROM", ""])
    known = {
        "output/shapes/clip_closeups/clip.safetensors": "shapes-tiny",
        "output/shapes/clip_pictures/clip.safetensors": "shapes-tiny-256",
        "output/shapes_quick/clip/clip.safetensors": "shapes-quick",
        "ViT-L/14@336px": VIT_L_336,
    }

    def load_clip(name, architecture=None):
        if name in known and name.startswith("output"):
            return ClipModel(ClipArchitecture.from_name(known[name]))
        if name in known:
            return ClipModel(ClipArchitecture.from_dict(known[name]))
        return real_load_clip(name, architecture)

    from masqclip_d2.clip import registry
    from masqclip_d2.proposer import eomt

    monkeypatch.setattr(eomt, "load_eomt", lambda name: torch.nn.Linear(1, 1))
    real_load_clip = registry.load_clip
    monkeypatch.setattr(registry, "load_clip", load_clip)
    with torch.device("cpu" if name.startswith("shapes/") else "meta"):
        model = build_model(cfg)
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE


def test_typo_in_a_file_names_the_nearest_key(tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text("MODEL:\n  MASK_FORMER:\n    NUM_OBJECT_QUERY: 7\n")
    with pytest.raises(KeyError, match=r"MODEL.MASK_FORMER.NUM_OBJECT_QUERY.*typo.yaml.*NUM_OBJECT_QUERIES"):
        load_config(path)


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_old_keys_are_refused_with_the_new_one(old, new, tmp_path):
    *sections, name = old.split(".")
    lines = [*("  " * depth + f"{section}:" for depth, section in enumerate(sections))]
    (tmp_path / "old.yaml").write_text("\n".join([*lines, "  " * len(sections) + f"{name}: 3", ""]))
    for load in (lambda: load_config(tmp_path / "old.yaml"), lambda: load_config("base/shapes", [old, "3"])):
        with pytest.raises(KeyError, match=rf"{re.escape(old)} .*was renamed to {re.escape(new)}"):
            load()


def test_typo_on_the_command_line_names_the_nearest_key():
    with pytest.raises(KeyError, match=r"SOLVER.MAXITER.*command line.*SOLVER.MAX_ITER"):
        load_config("shapes/teacher", ["SOLVER.MAXITER", "3"])


def test_odd_overrides():
    with pytest.raises(ValueError, match="KEY VALUE pairs"):
        load_config("shapes/teacher", ["SOLVER.MAX_ITER"])


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("SOLVER.MAX_ITER", "many", "in the command line takes a value of type int such as 3; got str"),
        ("HOOKS", "MyHook", r"takes a value of type list such as \"\['a', 'b'\]\"; got str"),
        ("DATASETS.TEST", "('my_val')", r"takes a value of type tuple such as \"\('a', 'b'\)\"; got str"),
    ],
)
def test_value_of_another_type(key, value, message):
    with pytest.raises(ValueError, match=rf"Config key {key} {message}" if "line" in message else message):
        load_config("shapes/teacher", [key, value])


def test_value_of_another_type_in_a_file(tmp_path):
    path = tmp_path / "many.yaml"
    path.write_text("SOLVER: {MAX_ITER: many}\n")
    with pytest.raises(ValueError, match=r"Config key SOLVER.MAX_ITER in .*many.yaml takes a value of type int"):
        load_config(path)


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("VERSION: 1\n")
    with pytest.raises(ValueError, match="old.yaml has VERSION 1; expected 2"):
        load_config(path)


def test_a_file_may_be_based_on_a_shipped_configuration(tmp_path):
    path = tmp_path / "my_teacher.yaml"
    path.write_text("_BASE_: shapes/teacher\nSOLVER: {MAX_ITER: 7}\n")
    mine, teacher = load_config(path), load_config("shapes/teacher")
    assert mine.SOLVER.MAX_ITER == 7 != teacher.SOLVER.MAX_ITER
    mine.SOLVER.MAX_ITER = teacher.SOLVER.MAX_ITER
    assert mine == teacher


@pytest.fixture
def own_keys(monkeypatch):
    """A key MODEL.MINE.DEPTH; forgotten after the test."""
    monkeypatch.setattr(config, "_further_keys", [])

    @register_config_keys
    def add_keys(cfg):
        cfg.MODEL.MINE = type(cfg)()
        cfg.MODEL.MINE.DEPTH = 2


def test_own_keys_are_set_in_files_and_on_the_command_line(tmp_path, own_keys):
    path = tmp_path / "mine.yaml"
    path.write_text("MODEL: {MINE: {DEPTH: 3}}\n")
    assert get_masqclip_cfg().MODEL.MINE.DEPTH == 2
    assert load_config(path).MODEL.MINE.DEPTH == 3
    assert load_config(path, ["MODEL.MINE.DEPTH", "4"]).MODEL.MINE.DEPTH == 4
    with pytest.raises(KeyError, match="MODEL.MINE.DEEP.*Did you mean MODEL.MINE.DEPTH"):
        load_config(path, ["MODEL.MINE.DEEP", "4"])


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("OUTPUT_DIR: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(Exception, match="could not determine a constructor|python/object"):
        load_config(path)


def test_every_key_of_this_package_is_used():
    """The name of each key under MODEL.MASQCLIP occurs outside of config.py."""
    sources = "\n".join(
        path.read_text()
        for path in (ROOT / "masqclip_d2").rglob("*.py")
        if path.name != "config.py" and "_bundled" not in path.parts
    )

    def leaves(node, prefix=""):
        for key, value in node.items():
            yield from leaves(value, f"{prefix}{key}.") if hasattr(value, "items") else [f"{prefix}{key}"]

    keys = list(leaves(get_masqclip_cfg().MODEL.MASQCLIP))
    unread = [key for key in keys if not re.search(rf"\b{key.rsplit('.', 1)[-1]}\b", sources)]
    assert len(keys) > 10 and unread == []


@pytest.mark.parametrize(
    ("there", "num_gpus", "expected"), [(False, 1, "cpu"), (False, None, "cpu"), (True, 0, "cpu"), (True, 1, "cuda")]
)
def test_device_follows_the_machine(monkeypatch, there, num_gpus, expected):
    """A CUDA build of torch reports a CUDA accelerator even without a device."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    cfg = load_config("shapes/teacher")
    adapt_to_machine(cfg, num_gpus)
    assert expected == cfg.MODEL.DEVICE


def test_a_device_that_there_is_not_is_refused():
    cfg = load_config("shapes/teacher", ["MODEL.DEVICE", "gpu"])
    with pytest.raises(ValueError, match="MODEL.DEVICE is 'gpu'; expected a device such as 'cpu'"):
        adapt_to_machine(cfg)
