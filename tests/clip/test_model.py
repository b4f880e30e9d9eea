"""Loading CLIP from every kind of source, with files made here; nothing is downloaded."""

import hashlib
import io
import urllib.error

import open_clip
import pytest
import torch

from masqclip_d2.clip import pretrained as clip_sources
from masqclip_d2.clip.architecture import ClipArchitecture
from masqclip_d2.clip.model import build_clip, load_clip, save_clip
from tests.helpers import VIT_L_336, write_torchscript

SIZES = {
    "image_resolution": 16,
    "patch_size": 8,
    "vision_width": 64,
    "vision_layers": 2,
    "vision_heads": 1,
    "embed_dim": 24,
    "text_width": 64,
    "text_layers": 1,
    "text_heads": 1,
    "context_length": 12,
    "vocab_size": 600,
    "activation": "quick_gelu",
}


@pytest.fixture
def clip():
    model = build_clip(SIZES).eval()
    with torch.no_grad():
        model.log_logit_scale.fill_(3.0)
    return model


def assert_same(loaded, clip):
    image, words = torch.randn(2, 3, 16, 16), ["cat", "dog"]
    torch.testing.assert_close(loaded.visual(image), clip.visual(image))
    torch.testing.assert_close(loaded.text.encode(words), clip.text.encode(words))
    torch.testing.assert_close(loaded.logit_scale, torch.tensor(3.0).exp())
    assert loaded.architecture == clip.architecture
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


@pytest.fixture
def archive(clip, tmp_path, monkeypatch):
    """A TorchScript archive that counts as OpenAI's ViT-B/32."""
    path = tmp_path / "cache" / "ViT-B-32.pt"
    path.parent.mkdir()
    write_torchscript(clip, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    models = {"ViT-B/32": {"url": "https://example.org/clip/ViT-B-32.pt", "sha256": digest}}
    monkeypatch.setattr(clip_sources, "OPENAI_MODELS", models)
    monkeypatch.setenv("MASQCLIP_CACHE", str(path.parent))
    return path


def no_network(*args, **kwargs):
    raise urllib.error.URLError("no network in tests")


def test_listed_models_are_openais():
    models = clip_sources.OPENAI_MODELS
    assert set(models) == {"ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"}
    assert all(model["sha256"] in model["url"] and len(model["sha256"]) == 64 for model in models.values())


def test_sizes_of_openais_models_are_known_without_their_files(monkeypatch):
    monkeypatch.setattr(clip_sources.urllib.request, "urlopen", no_network)
    assert ClipArchitecture.from_name("ViT-L/14@336px") == ClipArchitecture.from_dict(VIT_L_336)
    with torch.device("meta"):
        clip = load_clip("ViT-L/14@336px")
    assert clip.visual.positional_embedding.shape == (577, 1024) and clip.visual.proj.is_meta
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    for name in clip_sources.OPENAI_MODELS:  # open_clip has the same sizes under its own names
        ours, theirs = ClipArchitecture.from_name(name), open_clip.get_model_config(_open_clip_name(name))
        vision, text = theirs["vision_cfg"], theirs["text_cfg"]
        assert (ours.image_resolution, ours.patch_size) == (vision["image_size"], vision["patch_size"])
        assert (ours.vision_width, ours.vision_layers) == (vision["width"], vision["layers"])
        assert ours.vision_heads == vision["width"] // vision.get("head_width", 64)
        assert (ours.text_width, ours.text_layers, ours.text_heads) == (text["width"], text["layers"], text["heads"])
        assert (ours.embed_dim, ours.vocab_size) == (theirs["embed_dim"], text["vocab_size"])


def _open_clip_name(name):
    return name.replace("/", "-").replace("@336px", "-336")


def test_own_file(clip, tmp_path):
    path = tmp_path / "new" / "clip.safetensors"
    save_clip(path, clip)
    assert_same(load_clip(path), clip)
    assert [file.name for file in path.parent.iterdir()] == ["clip.safetensors"]


def test_own_file_knows_heads_and_activation(tmp_path):
    model = build_clip({**SIZES, "vision_heads": 4, "activation": "gelu"}).eval()
    save_clip(tmp_path / "clip.safetensors", model)
    loaded = load_clip(tmp_path / "clip.safetensors")
    assert loaded.architecture == model.architecture
    image = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(loaded.visual(image), model.visual(image))


def test_half_precision_file_is_smaller_and_loads_as_float32(clip, tmp_path):
    save_clip(tmp_path / "full.safetensors", clip)
    save_clip(tmp_path / "half.safetensors", clip, dtype=torch.float16)
    full, half = ((tmp_path / name).stat().st_size for name in ("full.safetensors", "half.safetensors"))
    assert half < 0.6 * full
    loaded = load_clip(tmp_path / "half.safetensors")
    assert loaded.visual.proj.dtype == torch.float32
    torch.testing.assert_close(loaded.visual.proj, clip.visual.proj, atol=1e-3, rtol=1e-3)


def test_only_safetensors_are_written(clip, tmp_path):
    with pytest.raises(ValueError, match="written as .safetensors"):
        save_clip(tmp_path / "clip.pt", clip)


@pytest.mark.parametrize("name", ["clip.pt", "clip.pth", "clip.safetensors"])
def test_plain_state_dict(clip, tmp_path, name):
    tensors = {key: tensor.half() for key, tensor in clip.openai_state_dict().items()}
    with torch.no_grad():
        for key, tensor in clip.openai_state_dict().items():
            tensor.copy_(tensors[key])
    if name.endswith("safetensors"):
        from safetensors.torch import save_file

        save_file(tensors, tmp_path / name)
    else:
        torch.save(tensors, tmp_path / name)
    assert_same(load_clip(tmp_path / name), clip)


def test_openai_archive_by_name_and_by_path(clip, archive, monkeypatch):
    monkeypatch.setattr(clip_sources.urllib.request, "urlopen", no_network)  # it is in the cache
    assert_same(load_clip("ViT-B/32"), clip)
    assert_same(load_clip(archive), clip)


def test_unlisted_archive_is_not_opened(clip, archive, tmp_path, monkeypatch):
    other = tmp_path / "other.pt"
    write_torchscript(build_clip(SIZES), other)
    monkeypatch.setattr(torch.jit, "load", lambda *a, **k: pytest.fail("was opened"))
    with pytest.raises(ValueError, match="other.pt is a TorchScript archive, which can run code.*save its state dict"):
        load_clip(other)


def test_archive_is_downloaded_once(clip, archive, monkeypatch, capsys):
    content = archive.read_bytes()
    archive.unlink()

    class Response(io.BytesIO):
        headers = {"Content-Length": str(len(content))}

    monkeypatch.setattr(clip_sources.urllib.request, "urlopen", lambda url, timeout: Response(content))
    assert_same(load_clip("ViT-B/32"), clip)
    assert "ViT-B-32.pt" in capsys.readouterr().err  # progress
    assert [file.name for file in archive.parent.iterdir()] == ["ViT-B-32.pt"]
    monkeypatch.setattr(clip_sources.urllib.request, "urlopen", no_network)
    load_clip("ViT-B/32")


def test_damaged_download_leaves_nothing(archive, monkeypatch):
    archive.unlink()

    class Response(io.BytesIO):
        headers = {}

    monkeypatch.setattr(clip_sources.urllib.request, "urlopen", lambda url, timeout: Response(b"half of it"))
    with pytest.raises(FileNotFoundError, match="could not be downloaded .*the download is damaged"):
        load_clip("ViT-B/32")
    assert list(archive.parent.iterdir()) == []


def test_offline_says_what_to_get_and_where_to_put_it(archive, monkeypatch):
    archive.unlink()
    monkeypatch.setattr(clip_sources.urllib.request, "urlopen", no_network)
    with pytest.raises(FileNotFoundError) as error:
        load_clip("ViT-B/32")
    message = str(error.value)
    assert "Download https://example.org/clip/ViT-B-32.pt" in message
    assert f"put the file at {archive}" in message and "\n" not in message


@pytest.mark.parametrize("name", ["clip.pt", "clip.safetensors", "archive.pt"])
def test_truncated_files(clip, tmp_path, name):
    path = tmp_path / name
    if name == "clip.pt":
        torch.save(clip.openai_state_dict(), path)
    elif name == "archive.pt":
        write_torchscript(clip, path)
    else:
        save_clip(path, clip)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"{name} .*truncated"):
        load_clip(path)


def test_empty_file(tmp_path):
    (tmp_path / "clip.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="clip.pt is empty"):
        load_clip(tmp_path / "clip.pt")


def test_another_architecture(clip, tmp_path):
    path = tmp_path / "clip.pt"
    torch.save({"visual.layer1.0.conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="clip.pt: The visual tower is a ResNet"):
        load_clip(path)
    tensors = clip.openai_state_dict()
    torch.save(tensors, path)
    with pytest.raises(ValueError, match="another architecture: they have vision_width 64, not 32"):
        load_clip(path, architecture={"vision_width": 32})
    del tensors["ln_final.weight"]
    torch.save({**tensors, "extra": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"1 names are missing \(ln_final.weight\), 1 are left over \(extra\)"):
        load_clip(path)


def test_unknown_name():
    with pytest.raises(FileNotFoundError, match="'ViT-Z/9' is neither a file nor a known name. Known: ViT-B/32"):
        load_clip("ViT-Z/9")


@pytest.fixture
def tiny_open_clip(monkeypatch):
    """open_clip with one small model of its own kind, and weights named `here`, without a download."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 16, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 600, "width": 64, "heads": 4, "layers": 1},
    }
    weights = {"hf_hub": "someone/tiny", "mean": open_clip.OPENAI_DATASET_MEAN}
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: config if name == "tiny" else None)
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["here"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: weights)
    model = open_clip.CLIP(**config).eval()
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: model)
    return config, weights, model


def test_open_clip_model_gives_the_same_embeddings(tiny_open_clip):
    theirs = tiny_open_clip[2]
    ours = load_clip("open_clip:tiny/here")
    assert ours.architecture == ClipArchitecture.from_dict(
        {**SIZES, "vision_heads": 4, "text_heads": 4, "activation": "gelu"}
    )
    image, tokens = torch.randn(2, 3, 16, 16), ours.text.tokenize(["striped circle", "cat"])
    torch.testing.assert_close(ours.visual(image), theirs.encode_image(image), atol=1e-5, rtol=1e-5)
    padded = torch.nn.functional.pad(tokens, (0, 12 - tokens.shape[1]))
    torch.testing.assert_close(ours.text(tokens), theirs.encode_text(padded), atol=1e-5, rtol=1e-5)


def test_open_clip_weights_trained_with_quick_gelu(tiny_open_clip):
    tiny_open_clip[1]["quick_gelu"] = True  # a fact of the weights; the model's configuration does not say it
    assert load_clip("open_clip:tiny/here").architecture.activation == "quick_gelu"


def test_open_clip_names_that_do_not_work(tiny_open_clip, monkeypatch):
    config, weights, _ = tiny_open_clip
    with pytest.raises(ValueError, match="open_clip has no model 'huge'"):
        load_clip("open_clip:huge/here")
    with pytest.raises(ValueError, match="no weights 'there' for tiny; write open_clip:tiny/TAG with one of: here"):
        load_clip("open_clip:tiny/there")

    def offline(*args, **kwargs):
        raise RuntimeError("no connection")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(FileNotFoundError, match=r"no connection.*Download the weights of someone/tiny"):
        load_clip("open_clip:tiny/here")
    weights["mean"] = (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="another image normalisation"):
        load_clip("open_clip:tiny/here")
    config["vision_cfg"]["attentional_pool"] = True
    with pytest.raises(ValueError, match="tiny is not supported: .* it has attentional_pool"):
        load_clip("open_clip:tiny/here")


@pytest.mark.parametrize(
    "model", ["RN50", "ViT-B-16-SigLIP", "coca_ViT-B-32", "convnext_base", "xlm-roberta-base-ViT-B-32"]
)
def test_other_models_of_open_clip_are_refused_by_name(model):
    with pytest.raises(ValueError, match=f"open_clip's {model} is not supported"):
        load_clip(f"open_clip:{model}/any")
