"""Shipped configurations load safely and build; typos stop with a hint; every key of this package is used."""

import re
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from masqclip_d2.clip.architecture import ClipArchitecture
from masqclip_d2.clip.model import ClipModel
from masqclip_d2.config import adapt_to_machine, find_config, get_masqclip_cfg, load_config, shipped_configs
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
        assert any(f"--config-file configs/{name}.yaml" in line for line in header)


@pytest.mark.parametrize("name", RUNNABLE)
def test_config_builds_its_model(name, monkeypatch):
    cfg = load_config(name, ["MODEL.DEVICE", "meta"])
    known = {"output/shapes/clip_closeups/clip.safetensors": "shapes-tiny", "ViT-L/14@336px": VIT_L_336}

    def load_clip(name, architecture=None):
        if name in known and name.startswith("output"):
            return ClipModel(ClipArchitecture.from_name(known[name]))
        if name in known:
            return ClipModel(ClipArchitecture.from_dict(known[name]))
        return real_load_clip(name, architecture)

    from masqclip_d2.clip import registry

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


def test_typo_on_the_command_line_names_the_nearest_key():
    with pytest.raises(KeyError, match=r"SOLVER.MAXITER.*command line.*SOLVER.MAX_ITER"):
        load_config("shapes/teacher", ["SOLVER.MAXITER", "3"])


def test_odd_overrides():
    with pytest.raises(ValueError, match="KEY VALUE pairs"):
        load_config("shapes/teacher", ["SOLVER.MAX_ITER"])


def test_value_of_another_type():
    with pytest.raises(ValueError, match="SOLVER.MAX_ITER|Type mismatch"):
        load_config("shapes/teacher", ["SOLVER.MAX_ITER", "many"])


def test_unknown_config_names_near_ones():
    with pytest.raises(FileNotFoundError, match="shapes/teacher"):
        find_config("shapes/teecher")


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
