"""Parameter groups and the optimizers of every stage, against torch's own run by hand."""

import copy

import pytest
import torch
from torch import nn

from masqclip_d2.config import get_masqclip_cfg
from masqclip_d2.engine.optimizer import build_optimizer, parameter_groups

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")


class Blocks(nn.Module):
    """The smallest model with a transformer block's name: one matrix and one bias in it, one matrix outside."""

    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([nn.Linear(3, 4)])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.resblocks[0](x))).square().mean()


def solver_config(optimizer, **options):
    cfg = get_masqclip_cfg()
    cfg.SOLVER.OPTIMIZER = optimizer
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.WEIGHT_DECAY = 0.05
    for key, value in options.items():
        cfg.SOLVER[key] = value
    return cfg


def train(model, optimizer, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 3, generator=generator)).backward()
        optimizer.step()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Blocks()


@pytest.mark.parametrize("name", ["ADAMW", "SGD", "MUON"])
def test_every_parameter_is_in_one_group(model, name):
    groups = list(parameter_groups(solver_config(name), model))
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(map(id, model.parameters()))


def test_only_matrices_of_blocks_go_to_muon_at_its_own_rate(model):
    groups = list(parameter_groups(solver_config("MUON", MUON_MULTIPLIER=5.0), model))
    muon = [group for group in groups if group["muon"]]
    assert [list(map(id, group["params"])) for group in muon] == [[id(model.resblocks[0].weight)]]
    assert muon[0]["lr"] == pytest.approx(0.05)
    assert {group["lr"] for group in groups if not group["muon"]} == {0.01}


@needs_muon
def test_muon_steps_as_torchs_two_optimizers_do(model):
    by_hand = copy.deepcopy(model)
    matrix = by_hand.resblocks[0].weight
    muon = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.05)
    adamw = torch.optim.AdamW([p for p in by_hand.parameters() if p is not matrix], lr=0.01, weight_decay=0.05)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        by_hand.zero_grad()
        by_hand(torch.randn(5, 3, generator=generator)).backward()
        muon.step()
        adamw.step()
    train(model, build_optimizer(solver_config("MUON"), model), 3)
    for (name, ours), expected in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, msg=name)


@needs_muon
def test_muon_goes_on_from_its_saved_state(model):
    other = copy.deepcopy(model)
    optimizer = build_optimizer(solver_config("MUON"), model)
    train(model, optimizer, 2)
    state = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    train(model, optimizer, 2, seed=1)
    resumed = build_optimizer(solver_config("MUON"), other)
    other.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    train(other, resumed, 2, seed=1)
    for (name, value), expected in zip(other.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0, msg=name)


def test_clipping_bounds_all_gradients_together(model):
    cfg = solver_config("SGD", MOMENTUM=0.0, WEIGHT_DECAY=0.0)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1e-3
    before = [parameter.detach().clone() for parameter in model.parameters()]
    train(model, build_optimizer(cfg, model), 1)
    moved = torch.cat([(p - b).flatten() for p, b in zip(model.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01 * 1e-3, rel=1e-2)


def test_muon_without_torchs_names_the_version(model, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(RuntimeError, match=r"torch 2\.9 or newer.*ADAMW"):
        build_optimizer(solver_config("MUON"), model)


def test_unknown_optimizer_is_named(model):
    with pytest.raises(ValueError, match="'LION'; expected one of ADAMW, SGD, MUON"):
        build_optimizer(solver_config("LION"), model)


def test_nothing_to_train_is_an_error(model):
    with pytest.raises(ValueError, match="Blocks has nothing to train"):
        build_optimizer(solver_config("ADAMW"), model.requires_grad_(False))
