"""Trainable parameters of every stage, at full size: the optimizer has them and no others."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.config import load_config
from masqclip_d2.engine.optimizer import build_optimizer
from tests.helpers import VIT_L_336, published_name

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_keys.json").read_text())


def trained_parameters(config, tmp_path, *opts):
    """Names of the parameters in the optimizer of a configuration, and the model."""
    (tmp_path / "vit_l.json").write_text(json.dumps(VIT_L_336))
    sizes = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tmp_path / "vit_l.json")]
    cfg = load_config(config, ["MODEL.DEVICE", "meta", *sizes, *opts])
    with torch.device("meta"):
        model = build_model(cfg)
    given = {id(parameter) for group in build_optimizer(cfg, model).param_groups for parameter in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in given}
    assert names == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(names) == len(given)
    return names, model


def test_rma(tmp_path):
    names, _ = trained_parameters("maskclip_r50", tmp_path)
    assert names == {
        f"visual_encoder.mask_attentions.{layer}.{part}"
        for layer in (5, 11, 17, 23)
        for part in (
            "mask_patch_proj.weight",
            "mask_patch_proj.bias",
            "mask_norm.weight",
            "mask_norm.bias",
            "key_proj.weight",
            "key_proj.bias",
            "refinement.proj.weight",
            "refinement.proj.bias",
        )
    }
    assert {published_name(name, "maskclip") for name in names} == set(KEYS["maskclip"]["optimised_entries"])


def test_rma_without_refinement(tmp_path):
    names, _ = trained_parameters("coco/maskclip_no_refinement_r50", tmp_path)
    assert len(names) == 24 and not any("refinement" in name for name in names)


@pytest.mark.parametrize("projection", ["query", "key", "value"])
def test_masq_tuning(tmp_path, projection):
    config = "masqclip_r50" if projection == "query" else f"coco/masqclip_{projection}_r50"
    names, _ = trained_parameters(config, tmp_path)
    assert names == {
        f"visual_encoder.mask_attentions.{layer}.mask_{projection}_proj.{part}"
        for layer in range(24)
        for part in ("weight", "bias")
    }


def test_masq_tuning_as_published_trains_the_position_too(tmp_path):
    names, _ = trained_parameters("masqclip_r50", tmp_path, "MODEL.MASQCLIP.MASQ_TUNING.TRAIN_POSITION", "True")
    assert {published_name(name, "masqclip") for name in names} == set(KEYS["masqclip"]["optimised_entries"])


@pytest.mark.parametrize("stage", ["teacher_r50", "student_r50"])
def test_teacher_and_student_train_the_whole_proposer(tmp_path, stage):
    names, model = trained_parameters(f"coco/{stage}", tmp_path)
    assert names == {name for name, _ in model.named_parameters()}
    entries = {name for name, _ in KEYS["mask2former_class_agnostic"]["entries"]}
    buffers = {name for name, _ in model.named_buffers()}
    assert names == entries - buffers and len(names) == 345


def test_mask_rcnn_teacher_freezes_its_first_layers(tmp_path):
    names, model = trained_parameters("coco/teacher_mask_rcnn_r50", tmp_path)
    frozen = {name for name, _ in model.named_parameters()} - names
    assert frozen and all("backbone." in name for name in frozen)
    assert {name.split("backbone.")[-1].split(".")[0] for name in frozen} <= {"conv1", "layer1", "body", "stem", "res2"}


def test_clip_pretraining_trains_both_towers(tmp_path):
    cfg = load_config("shapes/clip_closeups", ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    given = {id(parameter) for group in build_optimizer(cfg, model).param_groups for parameter in group["params"]}
    assert given == {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize("config", ["coco/maskclip_worma_r50", "coco/clip_baseline_r50", "coco/masqclip_no_tuning_r50"])
def test_configurations_with_nothing_to_train_are_refused(tmp_path, config):
    with pytest.raises(ValueError, match="learn|train"):
        trained_parameters(config, tmp_path)
