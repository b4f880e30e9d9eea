"""Learning rates, gradient clipping and parameter groups, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.projects.deeplab import add_deeplab_config
from detectron2.projects.deeplab import build_lr_scheduler as build_deeplab_lr_scheduler
from detectron2.solver import LRMultiplier, build_lr_scheduler, build_optimizer
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from masqclip_d2 import detectron2_backend


def solver_cfg(**options):
    cfg = get_cfg()
    add_deeplab_config(cfg)
    defaults = {"BASE_LR": 1.0, "MAX_ITER": 10, "STEPS": (4, 8), "GAMMA": 0.1, "WARMUP_ITERS": 2, "WARMUP_FACTOR": 0.5}
    for key, value in {**defaults, **options}.items():
        cfg.SOLVER[key] = value
    return cfg


def lr_curve(build, cfg, num_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build(cfg, optimizer)
    curve = []
    for _ in range(num_steps):
        curve.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return curve


def test_multi_step_curve():
    expected = [0.5, 0.75, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert lr_curve(build_lr_scheduler, solver_cfg(), 10) == pytest.approx(expected)


def test_multi_step_ignores_steps_after_the_end():
    cfg = solver_cfg(STEPS=(4, 8, 400))
    assert lr_curve(build_lr_scheduler, cfg, 10)[-1] == pytest.approx(0.01)


def test_constant_warmup():
    assert lr_curve(build_lr_scheduler, solver_cfg(WARMUP_METHOD="constant"), 4) == pytest.approx([0.5, 0.5, 1, 1])


def test_warmup_leads_to_the_schedule_where_it_ends():
    # Linear from 0.5 * s(0) to s(0.2), where the cosine has already decreased.
    end = (1 + math.cos(0.2 * math.pi)) / 2
    curve = lr_curve(build_lr_scheduler, solver_cfg(LR_SCHEDULER_NAME="WarmupCosineLR"), 10)
    assert curve[:3] == pytest.approx([0.5, (0.5 + end) / 2, end])
    assert curve[5] == pytest.approx(0.5)


def test_cosine_end_value():
    cfg = solver_cfg(LR_SCHEDULER_NAME="WarmupCosineLR", BASE_LR=2.0, BASE_LR_END=1.0, WARMUP_ITERS=0)
    assert lr_curve(build_lr_scheduler, cfg, 6)[5] == pytest.approx(1.5)


def test_poly_curve():
    expected = [(0.5 + 0.25 * i if i < 2 else 1.0) * (1 - i / 10) ** 0.9 for i in range(10)]
    assert lr_curve(build_deeplab_lr_scheduler, solver_cfg(LR_SCHEDULER_NAME="WarmupPolyLR"), 10) == pytest.approx(
        expected
    )


def test_poly_constant_ending():
    cfg = solver_cfg(LR_SCHEDULER_NAME="WarmupPolyLR", POLY_LR_CONSTANT_ENDING=0.4, POLY_LR_POWER=1.0)
    expected = [0.5, 0.75 * 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.4, 0.4, 0.4]
    assert lr_curve(build_deeplab_lr_scheduler, cfg, 10) == pytest.approx(expected)


@pytest.mark.skipif(
    detectron2_backend().kind == "real",
    reason="known fault of the real library: the poly scheduler keeps the old MAX_ITER in its state",
)
def test_poly_resumes_with_a_larger_max_iter():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build_deeplab_lr_scheduler(solver_cfg(LR_SCHEDULER_NAME="WarmupPolyLR"), optimizer)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    resumed = build_deeplab_lr_scheduler(solver_cfg(LR_SCHEDULER_NAME="WarmupPolyLR", MAX_ITER=20), optimizer)
    resumed.load_state_dict(scheduler.state_dict())
    optimizer.step()
    resumed.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx((1 - 11 / 20) ** 0.9)


def test_deeplab_delegates_other_names_and_unknown_names_raise():
    cfg = solver_cfg()
    assert lr_curve(build_deeplab_lr_scheduler, cfg, 10) == lr_curve(build_lr_scheduler, cfg, 10)
    with pytest.raises(ValueError, match="NoSuchLR"):
        lr_curve(build_deeplab_lr_scheduler, solver_cfg(LR_SCHEDULER_NAME="NoSuchLR"), 1)


def test_scheduler_state_and_groups():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": parameters[:1], "lr": 1.0}, {"params": parameters[1:], "lr": 0.1}])
    scheduler = build_lr_scheduler(solver_cfg(), optimizer)
    assert isinstance(scheduler, LRMultiplier)
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.01])
    assert scheduler.state_dict() == {"base_lrs": [1.0, 0.1], "last_epoch": 5}


def clip_cfg(clip_type: str, value: float = 1.0, enabled: bool = True):
    cfg = get_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = enabled
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = clip_type
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = value
    return cfg


@pytest.mark.parametrize(
    ("clip_type", "expected"),
    [
        ("value", [[-1.0, 1.0], [-0.5]]),
        # Each parameter separately: (3, -4) has norm 5, (0.5) is below the limit.
        ("norm", [[-0.6, 0.8], [-0.5]]),
    ],
)
@pytest.mark.parametrize("as_instance", [True, False])
def test_gradient_clipping(clip_type, expected, as_instance):
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    if as_instance:
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        assert maybe_add_gradient_clipping(clip_cfg(clip_type), optimizer) is optimizer
    else:
        optimizer = maybe_add_gradient_clipping(clip_cfg(clip_type), torch.optim.SGD)(parameters, lr=1.0)
    assert isinstance(optimizer, torch.optim.SGD)
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, -4.0]), torch.tensor([0.5])
    optimizer.step()
    for parameter, values in zip(parameters, expected, strict=True):
        assert parameter.tolist() == pytest.approx(values, abs=1e-5)


def test_gradient_clipping_off_and_unknown():
    assert maybe_add_gradient_clipping(clip_cfg("value", enabled=False), torch.optim.SGD) is torch.optim.SGD
    with pytest.raises(ValueError, match="full_model"):
        maybe_add_gradient_clipping(clip_cfg("full_model"), torch.optim.SGD)


def test_build_optimizer_settings_per_parameter():
    cfg = solver_cfg(WEIGHT_DECAY=0.1, WEIGHT_DECAY_NORM=0.0, WEIGHT_DECAY_BIAS=0.2, BIAS_LR_FACTOR=2.0, MOMENTUM=0.8)
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    model[2].weight.requires_grad = False
    optimizer = build_optimizer(cfg, model)
    settings = {
        id(parameter): (group["lr"], group["weight_decay"], group["momentum"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert settings[id(model[0].weight)] == (1.0, 0.1, 0.8)
    assert settings[id(model[0].bias)] == (2.0, 0.2, 0.8)
    assert settings[id(model[1].weight)][1] == 0.0
    assert id(model[2].weight) not in settings
    assert len(settings) == 5


def test_build_optimizer_merges_equal_settings():
    optimizer = build_optimizer(solver_cfg(WEIGHT_DECAY_BIAS=None), nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)))
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]
