"""Models with weights draw no random values that the weights replace, and all those that they lack."""

import copy

import pytest
import torch
from torch import nn

from masqclip_d2.checkpoint import SkippedInitialization, build_with_weights, write_safetensors
from masqclip_d2.clip import load_clip
from masqclip_d2.clip.pretrained import read_clip_weights


class Network(nn.Module):
    """Random, constant and computed values; parts that are made from others."""

    allow_missing = ("late", "twin", "scaled", "head")

    def __init__(self):
        super().__init__()
        self.early = nn.Linear(3, 4)
        self.conv = nn.Conv2d(2, 3, 1)
        self.truncated = nn.Parameter(nn.init.trunc_normal_(torch.empty(50), std=0.02))
        self.late = nn.Linear(4, 2)
        self.twin = copy.deepcopy(self.early)
        self.scaled = nn.Parameter(2 * self.early.weight.detach())
        self.head = nn.MultiheadAttention(4, 2)
        self.register_buffer("computed", torch.arange(5.0).exp(), persistent=False)
        self.register_buffer("derived", self.early.bias.detach() + 1, persistent=False)


def _count(build):
    calls = []

    def counted():
        calls.append(build)
        return build()

    return counted, calls


def _plain():
    torch.manual_seed(3)
    return Network()


def _values(model):
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _file(tmp_path, missing=()):
    torch.manual_seed(7)
    tensors = {name: torch.randn_like(value) for name, value in Network().state_dict().items()}
    tensors = {name: value for name, value in tensors.items() if not name.startswith(tuple(missing))}
    write_safetensors(tmp_path / "weights.safetensors", tensors)
    return str(tmp_path / "weights.safetensors"), tensors


def test_weights_that_have_all_are_loaded_without_random_numbers(tmp_path):
    path, tensors = _file(tmp_path)
    build, calls = _count(lambda: nn.Sequential(nn.Linear(3, 4), nn.Conv2d(1, 1, 1), nn.Embedding(3, 2)))
    full = {name: torch.randn_like(value) for name, value in build().state_dict().items()}
    write_safetensors(tmp_path / "full.safetensors", full)
    state = torch.get_rng_state()
    model = build_with_weights(build, str(tmp_path / "full.safetensors"))
    assert len(calls) == 2 and torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, full[name])


@pytest.mark.parametrize("missing", [("late",), ("twin",), ("scaled",), ("head",), ("late", "twin", "scaled", "head")])
def test_what_weights_lack_is_initialized_as_without_them(tmp_path, missing):
    path, tensors = _file(tmp_path, missing)
    expected = _values(_plain())
    torch.manual_seed(3)
    found = _values(build_with_weights(Network, path))
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, tensors.get(name, expected[name])), name


def test_no_weights(tmp_path):
    expected = _values(_plain())
    torch.manual_seed(3)
    build, calls = _count(Network)
    found = _values(build_with_weights(build, ""))
    assert len(calls) == 1
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_strict_loading_still_refuses(tmp_path):
    path, _ = _file(tmp_path, ("conv",))
    with pytest.raises(ValueError, match="2 missing: conv.weight, conv.bias"):
        build_with_weights(Network, path)


def test_values_without_values_are_known():
    with SkippedInitialization() as skipped:
        model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
        with torch.no_grad():
            model["b"].weight.copy_(torch.ones(2, 2))
            model["b"].bias[:1] = 3  # a part of it
            model["a"].bias.copy_(model["a"].weight[0])  # from what has no values
    assert skipped.names_without_values(model) == ["a.weight", "a.bias", "b.bias"]
    assert not model["a"].weight.any()  # zeros, not what was in memory
    with SkippedInitialization():
        weight = model["b"].weight
        assert nn.init.normal_(weight) is weight


def test_loading_a_clip_draws_no_random_numbers():
    state = torch.get_rng_state()
    model = load_clip("masqclip://shapes_clip")
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in read_clip_weights("masqclip://shapes_clip").tensors.items():
        assert torch.equal(model.openai_state_dict()[name], value.float()), name
