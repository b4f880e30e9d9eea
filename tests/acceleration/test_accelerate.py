"""What acceleration does to a model, and that the model is as before afterwards."""

import pytest
import torch
from torch import nn

from masqclip_d2 import Predictor
from masqclip_d2.acceleration import Acceleration, GraphedForward, accelerate, accelerated
from masqclip_d2.batch.inputs import SAMPLES
from masqclip_d2.config import load_config


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.follows_autocast = False

    def forward(self, x):
        return self.layer(x)


class Model(nn.Module):
    network_names = ("part",)
    inference_dtype = torch.float32

    def __init__(self):
        super().__init__()
        self.part = Part()
        self.other = Part()


@pytest.fixture
def compiled(monkeypatch):
    """Compilation by a backend that needs no compiler; returns the functions that were compiled."""
    found = []

    def compile_function(function):
        found.append(function)
        return lambda *args, **kwargs: function(*args, **kwargs)

    monkeypatch.setattr(torch, "compile", compile_function)
    return found


def test_networks_are_compiled_and_restored(compiled):
    model = Model()
    original = model.part.forward
    with accelerated(model, Acceleration(compile=True)):
        assert [function.__self__ for function in compiled] == [model.part]
        assert "forward" in vars(model.part) and "forward" not in vars(model.other)
    assert model.part.forward == original


def test_what_was_applied_before_is_restored(compiled):
    model = Model()
    accelerate(model, Acceleration(compile=True))
    before = model.part.forward
    with accelerated(model, Acceleration()):
        assert "forward" not in vars(model.part)
    assert model.part.forward is before
    with accelerated(model, Acceleration(compile=True)):
        assert compiled[-1].__self__ is model.part  # the module's own, not what was compiled
    assert model.part.forward is before


def test_half_precision_is_set_and_restored(monkeypatch):
    monkeypatch.setattr("masqclip_d2.precision.bfloat16_is_native", lambda: True)
    model = Model()
    with accelerated(model, Acceleration(dtype="bf16")):
        assert model.inference_dtype == torch.bfloat16
        assert model.part.follows_autocast and model.other.follows_autocast
    assert model.inference_dtype == torch.float32 and not model.part.follows_autocast


def test_restored_after_an_error(compiled):
    model = Model()
    with pytest.raises(RuntimeError, match="in between"), accelerated(model, Acceleration(compile=True)):
        raise RuntimeError("in between")
    assert "forward" not in vars(model.part)


def test_what_has_no_effect_is_said(monkeypatch, caplog):
    monkeypatch.setattr("masqclip_d2.precision.bfloat16_is_native", lambda: True)
    accelerate(nn.Linear(2, 2), Acceleration(dtype="bf16", compile=True, cuda_graphs=True))
    assert [record.getMessage() for record in caplog.records] == [
        "dtype bf16 has no effect on Linear.",
        "Nothing of Linear can be compiled or recorded.",
        "CUDA graphs have no effect: the model runs on the device cpu.",
    ]


def test_graphs_wrap_compiled_networks(compiled, monkeypatch):
    model = Model()
    for parameter in model.parameters():
        monkeypatch.setattr(type(parameter), "device", torch.device("cuda"), raising=False)
        break
    with accelerated(model, Acceleration(compile=True, cuda_graphs=True)):
        assert isinstance(model.part.forward, GraphedForward) and len(compiled) == 1
    monkeypatch.undo()


def test_settings_come_from_the_configuration():
    options = ["MODEL.MASQCLIP.TEST.DTYPE", "bf16", "MODEL.MASQCLIP.TEST.CUDA_GRAPHS", "True"]
    assert Acceleration.from_config(load_config("shapes/masqclip", options)) == Acceleration("bf16", False, True)
    assert Acceleration.from_config(load_config("shapes/masqclip", [])) == Acceleration()


@pytest.mark.slow
def test_compiled_networks_give_the_same_masks(monkeypatch):
    """Traced as a whole, without a break, and run without code generation, which needs a C++ compiler."""
    plain = Predictor(device="cpu").encode(SAMPLES / "shapes_1.png")
    real_compile, traced = torch.compile, []

    def compile_function(function):
        traced.append(function.__self__)
        return real_compile(function, backend="aot_eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", compile_function)
    predictor = Predictor(device="cpu", compile=True)
    found = predictor.encode(SAMPLES / "shapes_1.png")
    assert len(traced) == 3  # backbone, head, visual encoder
    torch.testing.assert_close(found.mask_embeddings, plain.mask_embeddings, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.proposals.mask_logits, plain.proposals.mask_logits, rtol=1e-4, atol=1e-3)
