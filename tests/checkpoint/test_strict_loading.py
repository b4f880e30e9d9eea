"""Names of a file are matched with those of a model; every difference is allowed by a rule or an error."""

import pytest
import torch
from torch import nn

from masqclip_d2.checkpoint import StrictCheckpointer, load_strict
from masqclip_d2.proposer import TimmSwinTransformer


class Tiny(nn.Module):
    """A stand-in with the names of a proposer."""

    def __init__(self, width=3):
        super().__init__()
        self.backbone = nn.Linear(2, width)
        self.sem_seg_head = nn.Linear(width, 1)


class Composed(nn.Module):
    """A stand-in for a model that holds a proposer and a CLIP."""

    def __init__(self):
        super().__init__()
        self.proposer = Tiny()
        self.visual_encoder = nn.Linear(1, 1)
        self.allow_missing = (r"visual_encoder\.",)


def _state(model):
    return {name: torch.randn_like(value) for name, value in model.state_dict().items()}


def test_own_names_load():
    model = Tiny()
    state = _state(model)
    load_strict(model, state, "f.pth")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_prefix_of_ddp_is_removed():
    model = Tiny()
    state = _state(model)
    load_strict(model, {f"module.{name}": value for name, value in state.items()}, "f.pth")
    assert torch.equal(model.backbone.weight, state["backbone.weight"])


@pytest.mark.parametrize("prefix", ["model.", "model.module.", "_orig_mod.", "network._orig_mod."])
def test_prefixes_of_wrappers_are_removed(prefix):
    """Of torch.compile and of modules of PyTorch Lightning, which keep their criterion beside the network."""
    model = Tiny()
    state = _state(model)
    wrapped = {f"{prefix}{name}": value for name, value in state.items()}
    load_strict(model, {**wrapped, "criterion.empty_weight": torch.ones(2)}, "f.ckpt")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_a_model_may_use_the_prefix_of_a_wrapper_itself():
    model = nn.Module()
    model.model = Tiny()
    state = _state(model)
    load_strict(model, state, "f.pth")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_names_outside_of_a_wrapper_are_an_error():
    state = {f"model.{name}": value for name, value in _state(Tiny()).items()}
    with pytest.raises(ValueError, match="4 missing.*5 unexpected: model.backbone"):
        load_strict(Tiny(), {**state, "metric.count": torch.zeros(1)}, "f.ckpt")


def test_missing_names_are_an_error():
    state = _state(Tiny())
    del state["sem_seg_head.bias"]
    with pytest.raises(ValueError, match="1 missing: sem_seg_head.bias"):
        load_strict(Tiny(), state, "f.pth")


def test_unexpected_names_are_an_error():
    state = {**_state(Tiny()), "extra.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match="1 unexpected: extra.weight"):
        load_strict(Tiny(), state, "f.pth")


def test_another_architecture_is_an_error_that_names_shapes():
    with pytest.raises(ValueError, match=r"backbone.weight \(5, 2\) instead of \(3, 2\)"):
        load_strict(Tiny(), _state(Tiny(width=5)), "f.pth")


def test_nothing_is_loaded_if_names_do_not_match():
    model = Tiny()
    before = model.backbone.weight.detach().clone()
    state = {**_state(Tiny()), "extra.weight": torch.zeros(1)}
    with pytest.raises(ValueError):
        load_strict(model, state, "f.pth")
    assert torch.equal(model.backbone.weight, before)


def test_a_proposer_checkpoint_loads_into_a_composed_model():
    model = Composed()
    state = {**_state(Tiny()), "criterion.empty_weight": torch.ones(2)}
    load_strict(model, state, "teacher.pth", model.allow_missing)
    assert torch.equal(model.proposer.backbone.weight, state["backbone.weight"])


class OwnProposer(nn.Module):
    """A stand-in for a user's proposer, whose names are like no other's."""

    def __init__(self):
        super().__init__()
        self.network = nn.Linear(2, 3)


def test_a_users_proposer_loads_into_a_composed_model():
    model = Composed()
    model.proposer = OwnProposer()
    state = {**_state(OwnProposer()), "criterion.weight": torch.ones(2)}
    load_strict(model, state, "teacher.pth", model.allow_missing)
    assert torch.equal(model.proposer.network.weight, state["network.weight"])
    with pytest.raises(ValueError, match="1 unexpected: proposer.extra.weight"):
        load_strict(model, {**state, "extra.weight": torch.ones(2)}, "teacher.pth", model.allow_missing)


def test_a_proposer_checkpoint_for_a_trained_method_says_so():
    with pytest.raises(ValueError, match=r"2 missing: visual_encoder.*the proposer only: train Composed from them"):
        load_strict(Composed(), _state(Tiny()), "teacher.pth")


def test_parts_loaded_from_elsewhere_may_be_missing_only_if_declared():
    with pytest.raises(ValueError, match="visual_encoder"):
        load_strict(Composed(), _state(Tiny()), "teacher.pth")


def test_where_the_other_tensors_are_from_is_said(caplog):
    with caplog.at_level("INFO"):
        model = Composed()
        model.allow_missing = (r"visual_encoder\.", r"proposer\.backbone")
        load_strict(
            model, {"proposer.sem_seg_head.weight": torch.ones(1, 3)}, "f.pth", (r"proposer\.", *model.allow_missing)
        )
    assert caplog.messages[-1] == (
        "Loaded 1 of 6 tensors from f.pth (checkpoint of this model). Of the others 2 are CLIP's, from "
        "MODEL.MASQCLIP.CLIP.NAME; 2 are the proposer's, from its own weights; 1 keep their initial values "
        "(proposer.sem_seg_head)."
    )


@pytest.mark.parametrize("style", ["torchvision", "detectron2"])
def test_imagenet_backbone_weights(style):
    """Both namings of an ImageNet ResNet load the same backbone; the head keeps its values."""
    torchvision = pytest.importorskip("torchvision")
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import build_resnet_backbone

    from masqclip_d2.config import load_config

    cfg = load_config("coco/teacher_r50", ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64"])
    model = nn.Module()
    model.backbone = build_resnet_backbone(cfg, ShapeSpec(channels=3))
    model.sem_seg_head = nn.Linear(2, 2)
    reference = torchvision.models.resnet18(weights=None).eval()
    state = reference.state_dict()
    if style == "detectron2":
        state = {_detectron2_name(name): value for name, value in state.items() if "num_batches" not in name}
    load_strict(model, state, "r18.pth")
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        stem = reference.maxpool(reference.relu(reference.bn1(reference.conv1(image))))
        torch.testing.assert_close(model.eval().backbone(image)["res2"], reference.layer1(stem))


def _detectron2_name(name):
    if not name.startswith("layer"):
        name = f"stem.{name}"
    for block in (4, 3, 2, 1):
        name = name.replace(f"layer{block}", f"res{block + 1}")
    for index in (1, 2, 3):
        name = name.replace(f"bn{index}", f"conv{index}.norm")
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def test_imagenet_swin_weights():
    """The official classification weights: norm and head are left out, norms of the features keep their values."""
    model = nn.Module()
    model.backbone = TimmSwinTransformer(
        patch_size=4, embed_dim=8, depths=(2, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=3
    )
    model.sem_seg_head = nn.Linear(2, 2)
    feature_norms = ("norm0.", "norm1.", "norm2.", "norm3.")
    state = {n: torch.randn_like(v) for n, v in model.backbone.state_dict().items() if not n.startswith(feature_norms)}
    others = ("norm.weight", "norm.bias", "head.weight", "head.bias")
    tables = (f"layers.0.blocks.1.{name}" for name in ("attn_mask", "attn.relative_position_index"))
    load_strict(model, {**state, **{name: torch.zeros(2) for name in (*others, *tables)}}, "swin.pth")
    assert all(torch.equal(model.backbone.state_dict()[name], value) for name, value in state.items())
    assert torch.equal(model.backbone.norm0.weight, torch.ones(8))
    del state["layers.1.blocks.0.mlp.fc1.bias"]
    with pytest.raises(ValueError, match="ImageNet Swin.*1 missing: backbone.layers.1.blocks.0.mlp.fc1.bias"):
        load_strict(model, state, "swin.pth")


def test_checkpointer_saves_and_resumes(tmp_path):
    model = Tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    StrictCheckpointer(model, str(tmp_path), optimizer=optimizer).save("model_0000004", iteration=4)
    other = Tiny()
    checkpointer = StrictCheckpointer(other, str(tmp_path), optimizer=torch.optim.SGD(other.parameters(), lr=0.5))
    rest = checkpointer.resume_or_load("", resume=True)
    assert rest["iteration"] == 4
    assert torch.equal(other.backbone.weight, model.backbone.weight)
    assert checkpointer.checkpointables["optimizer"].param_groups[0]["lr"] == 0.1


def test_checkpointer_without_weights_keeps_the_model(tmp_path):
    model = Tiny()
    before = model.backbone.weight.detach().clone()
    assert StrictCheckpointer(model, str(tmp_path)).resume_or_load("", resume=False) == {}
    assert torch.equal(model.backbone.weight, before)
