"""Parameter groups and optimizers of every stage, compared with torch's own optimizers."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from masqclip_d2.config import get_masqclip_cfg
from masqclip_d2.engine.optimizer import build_lr_scheduler, build_optimizer, parameter_groups, parameter_kinds
from tests.helpers import TINY_MASK_RCNN, tiny_config

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


def test_muon_updates_only_matrices_of_blocks_with_its_own_rate(model):
    groups = list(parameter_groups(solver_config("MUON", MUON_MULTIPLIER=5.0), model))
    muon = [group for group in groups if group["muon"]]
    assert [list(map(id, group["params"])) for group in muon] == [[id(model.resblocks[0].weight)]]
    assert muon[0]["lr"] == pytest.approx(0.05)
    assert {group["lr"] for group in groups if not group["muon"]} == {0.01}


@needs_muon
def test_muon_equals_torchs_two_optimizers(model):
    reference = copy.deepcopy(model)
    matrix = reference.resblocks[0].weight
    muon = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.05)
    biases = [reference.resblocks[0].bias, reference.head.bias]
    groups = [{"params": [reference.head.weight]}, {"params": biases, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.05)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        reference.zero_grad()
        reference(torch.randn(5, 3, generator=generator)).backward()
        muon.step()
        adamw.step()
    train(model, build_optimizer(solver_config("MUON"), model), 3)
    for (name, parameter), expected in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, msg=name)


@needs_muon
def test_muon_resumes_from_its_saved_state(model):
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


def test_without_torchs_muon_the_error_names_the_version(model, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(RuntimeError, match=r"torch 2\.9 or newer.*ADAMW"):
        build_optimizer(solver_config("MUON"), model)


def test_unknown_optimizer_is_named(model):
    with pytest.raises(ValueError, match="'LION'; expected one of ADAMW, SGD, MUON"):
        build_optimizer(solver_config("LION"), model)


def test_muon_needs_blocks_and_other_parameters():
    with pytest.raises(ValueError, match="Linear does not train both. Set SOLVER.OPTIMIZER ADAMW"):
        build_optimizer(solver_config("MUON"), nn.Linear(2, 2))


def test_nothing_to_train_is_an_error(model):
    with pytest.raises(ValueError, match="Blocks has nothing to train"):
        build_optimizer(solver_config("ADAMW"), model.requires_grad_(False))


def decayed(model):
    """Names of the parameters that WEIGHT_DECAY is applied to."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(solver_config("ADAMW"), model)
    return {names[id(p)] for group in groups for p in group["params"] if group["weight_decay"] == 0.05}


def exempt_tables(model):
    """Names of the trained parameters that are exempt from weight decay and neither biases nor norms."""
    kinds = parameter_kinds(model)
    return {name for name, p in model.named_parameters() if p.requires_grad and kinds[name] == "embedding"}


OWN_TABLES = {
    "MaskProposer": {
        "sem_seg_head.pixel_decoder.transformer.level_embed",
        "sem_seg_head.predictor.level_embed.weight",
        "sem_seg_head.predictor.query_embed.weight",
        "sem_seg_head.predictor.query_feat.weight",
    },
    "MaskRcnnProposalNetwork": set(),
    "MaskCLIP": set(),
    "MasQCLIP": {"visual_encoder.mask_embeddings"},
    "ClipPretraining": {
        "clip.text.positional_embedding",
        "clip.text.token_embedding.weight",
        "clip.visual.class_embedding",
        "clip.visual.positional_embedding",
    },
}
OPTIONS = {
    "MaskRcnnProposalNetwork": TINY_MASK_RCNN,
    "MaskCLIP": ("MODEL.MASQCLIP.RMA.LAYERS", "[1]"),
    "MasQCLIP": ("MODEL.MASQCLIP.MASQ_TUNING.TRAIN_POSITION", "True"),
}


@pytest.mark.parametrize("name", OWN_TABLES)
def test_weight_decay_is_for_matrices_and_kernels(name, tmp_path):
    """Decayed: the weights of linear and convolutional layers, packed attention weights and CLIP's projections."""
    model = build_model(tiny_config(tmp_path, name, *OPTIONS.get(name, ())))
    assert exempt_tables(model) == OWN_TABLES[name]
    layers = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    expected = {
        f"{path}.weight" for path, module in model.named_modules() if isinstance(module, layers)
    } | {
        name for name, _ in model.named_parameters() if name.endswith((".in_proj_weight", "visual.proj", "projection"))
    }  # fmt: skip
    assert decayed(model) == {n for n, p in model.named_parameters() if p.requires_grad and n in expected}


def test_scales_outside_of_norms_are_exempt(tmp_path):
    kinds = parameter_kinds(build_model(tiny_config(tmp_path, "ClipPretraining")))
    assert kinds["clip.log_logit_scale"] == "norm"
    assert kinds["clip.visual.transformer.resblocks.0.attn.in_proj_bias"] == "bias"


TIMM_MODELS = {
    "swin_tiny_patch4_window7_224": {"relative_position_bias_table"},
    "swinv2_tiny_window8_256": {"logit_scale", "q_bias", "v_bias", "cpb_mlp"},
    "vit_tiny_patch16_224": {"cls_token", "pos_embed"},
    "deit3_small_patch16_224": {"cls_token", "pos_embed", "gamma"},
    "convnext_atto": {"gamma"},
}


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_tables_scales_and_biases_of_timm_models_are_exempt(name):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        model = timm.create_model(name)
    names = decayed(nn.ModuleDict({"backbone": model}))
    left = {n.removeprefix("backbone.") for n in names}
    assert left == {
        f"{path}.weight"
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and "cpb_mlp" not in path
    }
    exempt = [n for n, _ in model.named_parameters() if n not in left]
    for part in TIMM_MODELS[name]:
        assert any(part in n for n in exempt), part


def test_biases_are_decayed_on_request(model):
    cfg = solver_config("ADAMW", WEIGHT_DECAY_BIAS=None)
    assert [group["weight_decay"] for group in parameter_groups(cfg, model)] == [0.05]
    cfg = solver_config("ADAMW", WEIGHT_DECAY_BIAS=0.01)
    assert {group["weight_decay"] for group in parameter_groups(cfg, model)} == {0.05, 0.01}


@pytest.mark.parametrize("warmup, is_said", [(9, False), (10, True)])
def test_a_warm_up_without_end_is_said(caplog, warmup, is_said):
    cfg = solver_config("SGD", MAX_ITER=10, WARMUP_ITERS=warmup, STEPS=())
    build_lr_scheduler(cfg, torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1))
    assert ("the learning rate never reaches SOLVER.BASE_LR" in caplog.text) == is_said
