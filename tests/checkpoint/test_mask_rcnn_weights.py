"""torchvision's files: its released Mask R-CNN, alone and as the proposer of MaskCLIP, and ImageNet backbones.

The released file is not available to the tests, so files with its names are written: at full size with one repeated
value, which takes no disk space, and small with values that are checked.
"""

import re

import pytest
import torch
from detectron2.modeling import build_model

from masqclip_d2.checkpoint import StrictCheckpointer
from masqclip_d2.config import load_config
from masqclip_d2.proposer import TorchvisionResNet
from tests.helpers import TINY_MASK_RCNN, build_without_values, tiny_clip_file, tiny_config


def released_name(name):
    """The name of a tensor in torchvision's released file, which is older than the names of its classes."""
    name = re.sub(r"^rpn\.head\.conv\.0\.0", "rpn.head.conv", name)
    name = re.sub(r"(inner_blocks|layer_blocks)\.(\d)\.0", r"\1.\2", name)
    return re.sub(r"mask_head\.(\d)\.0", lambda match: f"mask_head.mask_fcn{int(match[1]) + 1}", name)


def full_size_file(path, value=0.125, renamed=True, version="v1"):
    """All names and shapes of torchvision's Mask R-CNN with 91 classes; frozen norms have no step counter."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2

    make = maskrcnn_resnet50_fpn_v2 if version == "v2" else maskrcnn_resnet50_fpn
    with torch.device("meta"):
        state = make(weights=None, weights_backbone=None, num_classes=91).state_dict()
    if version == "v1":
        state = {released_name(n) if renamed else n: tensor for n, tensor in state.items() if "num_batches" not in n}
    names = {name: tensor.shape for name, tensor in state.items()}
    values = {name: torch.full((), value, dtype=state[name].dtype).expand(shape) for name, shape in names.items()}
    torch.save(values, path)
    assert path.stat().st_size < 2**20
    return names


@pytest.mark.parametrize("renamed", [True, False])
def test_every_name_of_the_released_file_loads_into_the_proposer(tmp_path, renamed):
    names = full_size_file(tmp_path / "released.pth", renamed=renamed)
    assert ("rpn.head.conv.weight" in names) == ("roi_heads.mask_head.mask_fcn1.weight" in names) == renamed
    model = build_without_values("coco/teacher_mask_rcnn_r50")
    StrictCheckpointer(model).load(str(tmp_path / "released.pth"))
    assert all((tensor == 0.125).all() for tensor in model.state_dict().values())
    assert len(model.state_dict()) == len(names)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_name_of_the_released_file_loads_into_maskclip(tmp_path, version):
    """The second version's backbone has the norm BN in training; here it is frozen, without step counters."""
    names = full_size_file(tmp_path / "released.pth", version=version)
    clip = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(tmp_path))]
    opts = ["MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]", "MODEL.MASQCLIP.PROPOSER.MASK_RCNN.VERSION", version]
    model = build_model(load_config("coco/maskclip_mask_rcnn_r50", ["MODEL.DEVICE", "cpu", *clip, *opts]))
    model.allow_missing = (r"visual_encoder\.visual\.", r"text_classifier\.")  # as with a CLIP by name
    StrictCheckpointer(model, starts_training=True).load(str(tmp_path / "released.pth"))
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    loaded = {name for name, tensor in own.items() if (tensor == 0.125).all()}
    assert loaded == {name for name in own if name.startswith("proposer.")}
    assert len(loaded) == len([name for name in names if not name.endswith("num_batches_tracked")])


def test_class_heads_that_are_trained_keep_their_size(tmp_path):
    full_size_file(tmp_path / "released.pth")
    model = build_model(load_config("coco/teacher_mask_rcnn_r50", ["MODEL.DEVICE", "cpu"]))
    with pytest.raises(ValueError, match=r"taken as Mask R-CNN.*cls_score.weight \(91, 1024\) instead of \(2, 1024\)"):
        StrictCheckpointer(model, starts_training=True).load(str(tmp_path / "released.pth"))


@pytest.mark.parametrize("meta_architecture", ["MaskRcnnProposalNetwork", "MaskCLIP"])
def test_values_are_loaded_into_the_right_parameters(tmp_path, meta_architecture):
    opts = (*TINY_MASK_RCNN, "MODEL.MASQCLIP.PROPOSER.SOURCE", "mask_rcnn")
    model = build_model(tiny_config(tmp_path, meta_architecture, *opts))
    network = getattr(model, "proposer", model)
    expected = {name: torch.randn_like(tensor) for name, tensor in network.state_dict().items()}
    torch.save({released_name(name): tensor for name, tensor in expected.items()}, tmp_path / "small.pth")
    model.allow_missing = (r"visual_encoder\.", r"text_classifier\.")
    StrictCheckpointer(model).load(str(tmp_path / "small.pth"))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_own_checkpoint_loads(tmp_path):
    cfg = tiny_config(tmp_path, "MaskRcnnProposalNetwork", *TINY_MASK_RCNN)
    one, other = build_model(cfg), build_model(cfg)
    StrictCheckpointer(one, str(tmp_path)).save("model_final", iteration=3)
    StrictCheckpointer(other).load(str(tmp_path / "model_final.pth"))
    assert all(torch.equal(value, one.state_dict()[name]) for name, value in other.state_dict().items())


def _detectron2_name(name):
    """torchvision's name of a ResNet's tensor -> Detectron2's."""
    name = name if name.startswith("layer") else f"stem.{name}"
    name = re.sub(r"layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
    name = re.sub(r"bn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


@pytest.mark.parametrize("style", ["torchvision", "detectron2"])
def test_imagenet_backbone_weights(tmp_path, style):
    from torchvision.models import resnet18

    reference = resnet18(weights=None).eval()
    for module in reference.modules():
        if hasattr(module, "running_var"):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    state = reference.state_dict()
    if style == "detectron2":
        state = {_detectron2_name(name): value for name, value in state.items() if "num_batches" not in name}
    torch.save(state, tmp_path / "r18.pth")
    model = build_model(load_config("coco/teacher_mask_rcnn_r50", ["MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", "18"]))
    head = model.rpn.head.cls_logits.weight.clone()
    StrictCheckpointer(model, starts_training=True).load(str(tmp_path / "r18.pth"))
    assert isinstance(model.backbone.body, TorchvisionResNet) and torch.equal(model.rpn.head.cls_logits.weight, head)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = reference.maxpool(reference.relu(reference.bn1(reference.conv1(image))))
        found = model.eval().backbone.body(image)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            expected = getattr(reference, name)(expected)
            torch.testing.assert_close(found[f"res{int(name[-1]) + 1}"], expected, rtol=1e-4, atol=1e-4)
