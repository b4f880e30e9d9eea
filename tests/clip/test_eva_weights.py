"""EVA-CLIP by open_clip's names, from its files and from those of the original release; nothing is downloaded."""

import re

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from timm.models.eva import checkpoint_filter_fn

from masqclip_d2.cli.convert import main as convert
from masqclip_d2.clip import ClipArchitecture, ClipModel, EvaVisionTransformer, load_clip, pretrained, save_clip
from masqclip_d2.clip.eva_weights import with_eva_names
from tests.clip.tiny_eva import KINDS, OPEN_CLIP_CONFIG, eva_tower, timm_eva

CLOSE = {"atol": 2e-5, "rtol": 1e-5}
SIZES = {
    "image_resolution": 24, "patch_size": 8, "vision_width": 32, "vision_layers": 3, "vision_heads": 2,
    "vision_mlp_width": 85, "embed_dim": 16, "text_width": 64, "text_layers": 1, "text_heads": 2, "context_length": 12,
    "vocab_size": 600, "activation": "gelu", "vision_kind": "eva02",
}  # fmt: skip


@pytest.fixture
def model():
    """open_clip's own model of a small EVA-02."""
    config = {key: value for key, value in OPEN_CLIP_CONFIG.items() if key != "custom_text"}
    model = open_clip.CustomTextCLIP(**config).eval()
    with torch.no_grad():  # the files have float16
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    return model


@pytest.fixture
def served(model, file_server, tmp_path, monkeypatch):
    """The small EVA-02 as a model of open_clip, with weights tagged `here` on the server."""
    weights = {"hf_hub": "someone/eva/", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "interpolation": "bicubic"}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "EVA02-tiny", OPEN_CLIP_CONFIG)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "EVA02-tiny", {"here": weights})
    save_file({name: tensor.half() for name, tensor in model.state_dict().items()}, tmp_path / "eva.safetensors")
    file_server.add(
        "/someone/eva/resolve/main/open_clip_model.safetensors", (tmp_path / "eva.safetensors").read_bytes()
    )
    return model


def original_names(state_dict, packed):
    """A state dict of open_clip in the names of the original release, with what only that has."""

    def rename(name):
        name = name.replace("visual.trunk.", "visual.")
        for ours, theirs in (
            (".attn.norm.", ".attn.inner_attn_ln."), (".mlp.norm.", ".mlp.ffn_ln."), (".mlp.fc1_g.", ".mlp.w1."),
            (".mlp.fc1_x.", ".mlp.w2."), (".q_proj.bias", ".q_bias"), (".v_proj.bias", ".v_bias"),
        ):  # fmt: skip
            name = name.replace(ours, theirs)
        return name if packed else re.sub(r"\.mlp\.fc2\.", ".mlp.w3.", name)

    renamed = {rename(name): tensor for name, tensor in state_dict.items()}
    tables = {f"{place}rope.freqs_{of}": torch.zeros(9, 16) for place in ("visual.", "visual.blocks.0.attn.")
              for of in ("cos", "sin")}  # fmt: skip
    return renamed if packed else {**renamed, **tables}


def assert_equals(clip, model):
    image, texts = torch.randn(2, 3, 24, 24), ["striped circle", "cat"]
    with torch.no_grad():
        torch.testing.assert_close(clip.visual(image), model.encode_image(image), **CLOSE)
        tokens = torch.nn.functional.pad(clip.text.tokenize(texts), (0, 12))[:, :12]
        torch.testing.assert_close(clip.text.encode(texts), model.encode_text(tokens), **CLOSE)
        torch.testing.assert_close(clip.logit_scale, model.logit_scale.exp())
    assert not any(parameter.requires_grad for parameter in clip.parameters()) and clip.pretrained


def test_eva_by_open_clips_name(served, monkeypatch):
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: pytest.fail("a second network was built"))
    clip = load_clip("open_clip:EVA02-tiny/here")
    assert isinstance(clip.visual, EvaVisionTransformer)
    assert clip.architecture == ClipArchitecture.from_dict({**SIZES, "vision_heads": 1, "text_heads": 2})
    assert (clip.preprocessing.mean, clip.preprocessing.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_eva_with_narrow_heads_needs_them_stated(served):
    """The released models have heads of 64 channels; the small one states its own."""
    clip = load_clip("open_clip:EVA02-tiny/here", {"vision_heads": 2})
    assert_equals(clip, served)


def test_file_of_open_clip_and_of_the_original_release(model, tmp_path):
    for name, tensors in (
        ("open_clip.pt", model.state_dict()),
        ("original.pt", original_names(model.state_dict(), packed=False)),
    ):
        torch.save(tensors, tmp_path / name)
        clip = load_clip(tmp_path / name, {"vision_heads": 2, "text_heads": 2})
        assert_equals(clip, model)
        assert clip.architecture == ClipArchitecture.from_dict(SIZES)


def test_original_names_are_those_that_timm_knows(model):
    trunk = model.visual.trunk
    original = original_names(model.state_dict(), packed=False)
    by_timm = checkpoint_filter_fn(dict(original), trunk)
    trunk.load_state_dict(by_timm, strict=True)
    ours = with_eva_names(original)
    assert all(torch.equal(ours[f"visual.{name}"], tensor) for name, tensor in by_timm.items())


@pytest.mark.parametrize("kind", KINDS)
def test_saved_as_safetensors_and_loaded_again(kind, tmp_path):
    clip = ClipModel(ClipArchitecture.from_dict({**SIZES, "vision_kind": kind})).eval()
    trunk = timm_eva(kind)
    if kind == "eva02":
        clip.visual.load_state_dict(eva_tower(kind, trunk).state_dict())
    save_clip(tmp_path / "clip.safetensors", clip)
    again = load_clip(tmp_path / "clip.safetensors")
    assert again.architecture == clip.architecture and again.visual.kind == kind
    image = torch.randn(1, 3, 24, 24)
    torch.testing.assert_close(again.visual(image), clip.visual(image))


def test_convert_takes_an_eva(model, tmp_path, capsys):
    sizes = {**SIZES}
    torch.save(model.state_dict(), tmp_path / "eva.pt")
    (tmp_path / "sizes.json").write_text(ClipArchitecture.from_dict(sizes).to_dict().__repr__().replace("'", '"'))
    opts = ["--opts", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tmp_path / "sizes.json")]
    convert([str(tmp_path / "eva.pt"), str(tmp_path / "eva.safetensors"), "--config-file", "base/shapes", *opts])
    assert "read as a CLIP" in capsys.readouterr().out
    assert_equals(load_clip(tmp_path / "eva.safetensors"), model)


@pytest.mark.parametrize(
    ("name", "tag", "sizes"),
    [
        ("EVA02-B-16", "merged2b_s8b_b131k", ("eva02", 224, 16, 768, 12, 12)),
        ("EVA02-L-14", "merged2b_s4b_b131k", ("eva02", 224, 14, 1024, 24, 16)),
        ("EVA02-L-14-336", "merged2b_s6b_b61k", ("eva02", 336, 14, 1024, 24, 16)),
        ("EVA02-E-14", "laion2b_s4b_b115k", ("eva_post_norm", 224, 14, 1792, 64, 16)),
        ("EVA02-E-14-plus", "laion2b_s9b_b144k", ("eva_post_norm", 224, 14, 1792, 64, 16)),
        ("EVA01-g-14", "laion400m_s11b_b41k", ("eva", 224, 14, 1408, 40, 16)),
        ("EVA01-g-14-plus", "merged2b_s11b_b114k", ("eva", 224, 14, 1408, 40, 16)),
    ],
)
def test_released_models_have_our_names_and_shapes(name, tag, sizes, own_cache):
    """Names and shapes of the networks that open_clip builds, on no device; and the places of the files."""
    config = open_clip.get_model_config(name)
    config.pop("custom_text")
    with torch.device("meta"):
        reference = open_clip.CustomTextCLIP(**config)
        clip = load_clip(f"open_clip:{name}/{tag}")
    found, tensors = clip.architecture, with_eva_names(reference.state_dict())
    own = {key: tensor.shape for key, tensor in clip.openai_state_dict().items()}
    assert own == {key: tensor.shape for key, tensor in tensors.items()}
    of_vision = ("vision_kind", "image_resolution", "patch_size", "vision_width", "vision_layers", "vision_heads")
    assert tuple(getattr(found, field) for field in of_vision) == sizes
    assert reference.visual.trunk.blocks[0].attn.num_heads == found.vision_heads
    assert found.text_heads == config["text_cfg"]["heads"] and found.activation == "gelu"
    assert ClipArchitecture.from_state_dict(tensors) == found  # a file without its name is read alike
    places = pretrained.open_clip_file(f"{name}/{tag}").places
    assert all(re.fullmatch(r"hf://timm/eva\w+\.\w+/open_clip_\w+\.(safetensors|bin)@main", p.source) for p in places)


def test_other_timm_towers_are_refused(monkeypatch):
    vision = {**OPEN_CLIP_CONFIG["vision_cfg"], "timm_pool": "avg"}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "EVA02-avg", {**OPEN_CLIP_CONFIG, "vision_cfg": vision})
    for name in ("EVA02-avg", "vit_medium_patch16_gap_256", "PE-Core-L-14-336"):
        with pytest.raises(ValueError, match=f"open_clip's {name} is not supported"):
            load_clip(f"open_clip:{name}/any")
    with pytest.raises(ValueError, match="SigLIP has no class token .* Use EVA02-L-14-336 or ViT-L-14"):
        load_clip("open_clip:ViT-L-16-SigLIP-384/webli")


def test_half_an_eva_is_no_clip(model):
    tensors = with_eva_names(model.state_dict())
    del tensors["visual.head.weight"]
    with pytest.raises(ValueError, match=r"Not the weights of a CLIP: visual.head.weight are missing"):
        ClipArchitecture.from_state_dict(tensors)
