"""Mask2Former's released files: names and shapes of mask2former_zoo.json fit, values reach the right parameters.

The released files are not available to the tests. Names and shapes of full-size models are compared on the meta device,
values in a small file of the released format, with the released names.
"""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.checkpoint import StrictCheckpointer
from masqclip_d2.checkpoint.strict_loading import match_keys
from masqclip_d2.config import load_config
from masqclip_d2.proposer.mask2former.proposer import object_scores
from tests.helpers import TINY_SWIN, random_image, tiny_clip_file, tiny_config

ZOO = json.loads((Path(__file__).parent / "mask2former_zoo.json").read_text())
OTHER_FILES = ZOO["other_files"]
CONFIGS = {"r50_coco_panoptic": "base/proposer_r50", "swin_l_coco_panoptic": "base/proposer_swin_large"}
CLASS_EMBED = "sem_seg_head.predictor.class_embed.weight"
QUERY_FEAT = "sem_seg_head.predictor.query_feat.weight"


def names_and_shapes(file):
    """{name: shape} of a released file."""
    if file in OTHER_FILES:
        return {**names_and_shapes(OTHER_FILES[file]["like"]), **OTHER_FILES[file]["differences"]}
    found = {}
    for name, shape in ZOO[file].items():
        span = re.search(r"\.(\d+)-(\d+)\.", name)
        for index in range(int(span[1]), int(span[2]) + 1) if span else [None]:
            found[name if index is None else name.replace(span[0], f".{index}.")] = tuple(shape)
    return found


def tensors(file):
    return {name: torch.empty(shape, device="meta") for name, shape in names_and_shapes(file).items()}


def meta_model(config, meta_architecture, folder):
    clip = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(folder))]
    with torch.device("meta"):
        cfg = load_config(config, ["MODEL.DEVICE", "meta", "MODEL.META_ARCHITECTURE", meta_architecture, *clip])
        return build_model(cfg)


def released_name(name):
    """The released name of a parameter of ours."""
    return name.removeprefix("proposer.").replace("predictor.query_feat", "predictor.static_query")


@pytest.mark.parametrize("meta_architecture", ["MaskProposer", "MaskCLIP"])
@pytest.mark.parametrize("file", [*CONFIGS, *OTHER_FILES])
def test_every_name_of_a_released_file_fits(tmp_path, file, meta_architecture):
    config = CONFIGS[OTHER_FILES.get(file, {"like": file})["like"]]
    model, content = meta_model(config, meta_architecture, tmp_path), tensors(file)
    match = match_keys(model, content, file, (r"visual_encoder\.", r"text_classifier\."))
    loaded = {released_name(name): tensor for name, tensor in match.tensors.items()}
    assert loaded == {name: tensor for name, tensor in content.items() if is_parameter(name)}
    assert {released_name(name) for name in match.left_out} == {name for name in content if not is_parameter(name)}
    prefix = "proposer." if meta_architecture == "MaskCLIP" else ""
    own = {name for name in model.state_dict() if name.startswith((f"{prefix}backbone.", f"{prefix}sem_seg_head."))}
    assert own == set(match.tensors)
    assert prefix + CLASS_EMBED in match.resized


def is_parameter(name):
    return not name.startswith("criterion.") and "relative_position_index" not in name


@pytest.mark.parametrize("backbone", [[], TINY_SWIN], ids=["convolutions", "swin"])
@pytest.mark.parametrize("meta_architecture", ["MaskProposer", "MaskCLIP"])
def test_a_released_file_of_any_number_of_classes_and_queries_works(tmp_path, meta_architecture, backbone):
    """7 classes and 9 queries instead of 1 and 6; the object score is 1 - P(no object)."""
    torch.manual_seed(0)
    sizes = ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "7", "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "9")
    written = build_model(tiny_config(tmp_path, "MaskProposer", *backbone, *sizes)).eval()
    torch.nn.init.normal_(written.sem_seg_head.predictor.class_embed.weight, std=0.5)
    content = {released_name(name): tensor.numpy() for name, tensor in written.state_dict().items()}
    assert "sem_seg_head.predictor.static_query.weight" in content and "criterion.empty_weight" in content
    if backbone:
        content["backbone.layers.0.blocks.0.attn.relative_position_index"] = np.zeros((9, 9), dtype=np.int64)
    (tmp_path / "released.pkl").write_bytes(pickle.dumps({"model": content, "__author__": "test"}))

    model = build_model(tiny_config(tmp_path, meta_architecture, *backbone)).eval()
    model.allow_missing = (r"visual_encoder\.", r"text_classifier\.")  # as with a CLIP by name
    StrictCheckpointer(model).load(str(tmp_path / "released.pkl"))
    proposer = getattr(model, "proposer", model)
    for name, tensor in written.state_dict().items():
        if is_parameter(name):
            assert torch.equal(proposer.state_dict()[name], tensor), name
    assert not any(parameter.requires_grad for parameter in proposer.parameters()) or proposer is model
    records = [{"image": random_image(40, 70)}]
    with torch.no_grad():
        outputs = written.sem_seg_head(written.backbone(written.preprocess([records[0]["image"]])))
    [found] = proposer.propose(records)
    assert outputs["pred_logits"].shape == (1, 9, 8)
    assert torch.equal(found.object_scores, object_scores(outputs["pred_logits"], outputs["pred_masks"])[0])
    assert torch.equal(found.mask_logits, outputs["pred_masks"][0])
    if proposer is not model:
        assert len(model.encode(records[0])) == 9


def test_a_checkpoint_with_another_number_of_classes_loads_again(tmp_path):
    """MaskCLIP trained on a proposer of 7 classes: its checkpoint, in evaluation and when training is resumed."""
    rma = ("MODEL.MASQCLIP.RMA.LAYERS", "[1]")
    saved = build_model(tiny_config(tmp_path, "MaskCLIP", *rma, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "7"))
    StrictCheckpointer(saved, str(tmp_path)).save("model_final")
    for starts_training in (False, True):
        model = build_model(tiny_config(tmp_path, "MaskCLIP", *rma))
        path = str(tmp_path / "model_final.pth")
        StrictCheckpointer(model, starts_training=starts_training).load(path)
        assert torch.equal(model.state_dict()[f"proposer.{CLASS_EMBED}"], saved.state_dict()[f"proposer.{CLASS_EMBED}"])
        assert model.proposer.sem_seg_head.predictor.class_embed.out_features == 8


def test_a_class_head_that_is_trained_keeps_its_size(tmp_path):
    sizes = ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "7")
    StrictCheckpointer(build_model(tiny_config(tmp_path, "MaskProposer", *sizes)), str(tmp_path)).save("seven")
    model = build_model(tiny_config(tmp_path, "MaskProposer"))
    with pytest.raises(ValueError, match=r"class_embed.weight \(8, 64\) instead of \(2, 64\)"):
        StrictCheckpointer(model, starts_training=True).load(str(tmp_path / "seven.pth"))


def test_released_masks_without_a_class_head(tmp_path):
    """MaskCLIP's published configuration has no object score; the class head of a file is left out."""
    written = build_model(tiny_config(tmp_path, "MaskProposer", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "7"))
    torch.save({released_name(name): tensor for name, tensor in written.state_dict().items()}, tmp_path / "seven.pth")
    model = build_model(tiny_config(tmp_path, "MaskCLIP", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "0"))
    model.allow_missing = (r"visual_encoder\.", r"text_classifier\.")
    StrictCheckpointer(model).load(str(tmp_path / "seven.pth"))
    assert torch.equal(model.proposer.state_dict()[QUERY_FEAT], written.state_dict()[QUERY_FEAT])
