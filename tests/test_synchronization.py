"""Between an image and its predictions the host does not wait for a GPU; each task copies its results once.

The networks have their real size. Nothing computes: see tests/fake_gpu.py.
"""

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    unset_fake_temporarily,
)

from masqclip_d2.acceleration import Acceleration, accelerate
from masqclip_d2.config import load_config
from masqclip_d2.transfers import to_host
from tests.fake_gpu import Recorder, fake_gpu

OPTIONS = ["MODEL.WEIGHTS", "", "MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", "ViT-L/14@336px"]
NAMES = [f"category {number}" for number in range(20)]


def read_zeros(*tensors):
    """`to_host`, with zeros for the values that tensors of a fake GPU do not have."""
    copied = to_host(*tensors)
    with unset_fake_temporarily():
        return [torch.zeros(tensor.shape, dtype=tensor.dtype) for tensor in copied]


@pytest.fixture(scope="module", params=["masqclip_r50", "maskclip_r50"])
def encoded(request):
    """A model, an encoded image of 1024 x 1024 pixels, and what encoding it does on the GPU."""
    cfg = load_config(f"configs/{request.param}.yaml", OPTIONS)
    with fake_gpu(), torch.no_grad():
        with torch.device("cuda"):
            model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).eval()
        accelerate(model, Acceleration())
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
