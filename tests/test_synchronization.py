"""Between an image and its predictions the host does not wait for a GPU; each task copies its results once.

The networks have their real size. Nothing computes: see tests/fake_gpu.py.
"""

import contextlib
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from masqclip_d2.config import load_config
from masqclip_d2.fusion import background, instance, panoptic
from masqclip_d2.structures import MaskProposals
from masqclip_d2.vocabulary import Vocabulary
from tests.fake_gpu import Recorder, fake_gpu

OPTIONS = ["MODEL.WEIGHTS", "", "MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", "ViT-L/14@336px"]
NAMES = [f"category {number}" for number in range(20)]


def read_zeros(*tensors):
    """`to_host`, with zeros for the values that tensors of a fake GPU do not have."""
    torch.cat([tensor.reshape(-1).double() for tensor in tensors]).cpu()
    return [np.zeros(tensor.shape, np.bool_ if tensor.dtype == torch.bool else np.int64) for tensor in tensors]


@pytest.fixture(scope="module", params=["masqclip_r50", "maskclip_r50"])
def encoded(request):
    """A model, an encoded image of 1024 x 1024 pixels, and what encoding it does on the GPU."""
    cfg = load_config(f"configs/{request.param}.yaml", OPTIONS)
    with fake_gpu(), torch.no_grad():
        with torch.device("cuda"):
            model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).eval()
        for module in model.modules():
            if hasattr(module, "prepare_inference"):
                module.prepare_inference()
        with Recorder() as networks:
            batch = model.proposer.preprocess([torch.zeros(3, 1024, 1024, dtype=torch.uint8).cuda()])
            model.proposer.forward(batch)
            resolution = model.visual_encoder.visual.input_resolution
            image, masks = torch.zeros(1, 3, resolution, resolution), torch.zeros(1, 100, resolution, resolution)
            model.visual_encoder(image.cuda(), masks.cuda())
        with Recorder() as recorder:
            image = model.encode({"image": torch.zeros(3, 1024, 1024, dtype=torch.uint8)})
    return model, image, recorder, networks


def test_encoding_waits_for_nothing(encoded):
    _, _, recorder, _ = encoded
    assert recorder.to_host == [] and recorder.waiting == []
    assert recorder.to_gpu.count((3, 1024, 1024)) == 1
    assert sum(recorder.launches.values()) > 500  # the recorder sees the networks


def test_few_launches_around_the_networks(encoded):
    _, _, recorder, networks = encoded
    assert 0 <= sum(recorder.launches.values()) - sum(networks.launches.values()) < 60


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
@pytest.mark.parametrize("num_prompts", [0, 30])
@pytest.mark.parametrize("duplicate_iou", [1.0, 0.5])
def test_a_task_copies_its_results_once(encoded, task, num_prompts, duplicate_iou):
    model, image, _, _ = encoded
    prompts = tuple(f"prompt {number}" for number in range(num_prompts))
    vocabulary = replace(Vocabulary.from_names(NAMES), background_prompts=prompts)
    tasks = replace(model.tasks.only(task), duplicate_iou=duplicate_iou, score_threshold=0.1)
    checks = mock.Mock()
    with fake_gpu(), contextlib.ExitStack() as patches:
        for module in (background, instance, panoptic):
            patches.enter_context(mock.patch.object(module, "to_host", read_zeros))
        patches.enter_context(mock.patch.object(MaskProposals, "check_values", checks))
        logits = torch.zeros(100, len(NAMES) + num_prompts + 1, device="cuda")
        patches.enter_context(mock.patch.object(model.text_classifier, "class_logits", lambda *_: logits))
        recorder = patches.enter_context(Recorder())
        model.predict(image, vocabulary, tasks)
    # A label map stays on the GPU. What background prompts reject is measured after segments and instances are known.
    copies = {"panoptic": 1, "instance": 1 + bool(prompts), "semantic": int(bool(prompts))}
    assert len(recorder.to_host) == copies[task]
    assert recorder.waiting == []
    assert checks.call_count == 1
    most = {"panoptic": 80, "instance": 280, "semantic": 80}
    assert 4 < sum(recorder.launches.values()) < most[task]


def test_the_recorder_notices_waiting():
    with fake_gpu():
        tensor = torch.zeros(3, device="cuda")
        for wait in (lambda: bool(tensor.any()), lambda: tensor[tensor > 0], lambda: tensor.nonzero()):
            with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
                wait()
        with Recorder() as recorder:
            tensor.cpu()
            torch.zeros(4).cuda()
            torch.zeros(5).to("cuda", non_blocking=True)
            tensor.view(3, 1).add(1)
    assert recorder.to_host == [(3,)] and recorder.to_gpu == [(4,), (5,)] and recorder.waiting == [(4,)]
    assert dict(recorder.launches) == {"aten.add.Tensor": 1}
