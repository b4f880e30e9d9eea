"""Sources of CLIP weights, with files made here; nothing is downloaded."""

import hashlib
import io
import urllib.error

import open_clip
import pytest
import torch

from masqclip_d2.clip import ClipArchitecture, ClipPreprocessing, build_clip, load_clip, pretrained
from tests.clip.tiny_clip import SIZES, assert_same, tiny_clip
from tests.helpers import VIT_L_336, write_torchscript


@pytest.fixture
def clip():
    return tiny_clip()


@pytest.fixture
def archive(clip, tmp_path, monkeypatch):
    """A TorchScript archive that is listed as OpenAI's ViT-B/32."""
    path = tmp_path / "cache" / "ViT-B-32.pt"
    path.parent.mkdir()
    write_torchscript(clip, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    models = {"ViT-B/32": {"url": "https://example.org/clip/ViT-B-32.pt", "sha256": digest}}
    monkeypatch.setattr(pretrained, "OPENAI_MODELS", models)
    monkeypatch.setenv("MASQCLIP_CACHE", str(path.parent))
    return path


def no_network(*args, **kwargs):
    raise urllib.error.URLError("no network in tests")


def test_openai_models_have_checksums():
    models = pretrained.OPENAI_MODELS
    assert set(models) == {"ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"}
    assert all(model["sha256"] in model["url"] and len(model["sha256"]) == 64 for model in models.values())


def test_sizes_of_openai_models_need_no_files(monkeypatch):
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", no_network)
    assert ClipArchitecture.from_name("ViT-L/14@336px") == ClipArchitecture.from_dict(VIT_L_336)
    with torch.device("meta"):
        clip = load_clip("ViT-L/14@336px")
    assert clip.visual.positional_embedding.shape == (577, 1024) and clip.visual.proj.is_meta
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    for name in pretrained.OPENAI_MODELS:  # open_clip has the same sizes under its own names
        sizes, config = ClipArchitecture.from_name(name), open_clip.get_model_config(_open_clip_name(name))
        vision, text = config["vision_cfg"], config["text_cfg"]
        assert (sizes.image_resolution, sizes.patch_size) == (vision["image_size"], vision["patch_size"])
        assert (sizes.vision_width, sizes.vision_layers) == (vision["width"], vision["layers"])
        assert sizes.vision_heads == vision["width"] // vision.get("head_width", 64)
        assert (sizes.text_width, sizes.text_layers, sizes.text_heads) == (text["width"], text["layers"], text["heads"])
        assert (sizes.embed_dim, sizes.vocab_size) == (config["embed_dim"], text["vocab_size"])


def _open_clip_name(name):
    return name.replace("/", "-").replace("@336px", "-336")


def test_openai_archive_by_name_and_by_path(clip, archive, monkeypatch):
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", no_network)  # it is in the cache
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

    monkeypatch.setattr(pretrained.urllib.request, "urlopen", lambda url, timeout: Response(content))
    assert_same(load_clip("ViT-B/32"), clip)
    assert "ViT-B-32.pt" in capsys.readouterr().err  # progress
    assert [file.name for file in archive.parent.iterdir()] == ["ViT-B-32.pt"]
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", no_network)
    load_clip("ViT-B/32")


def test_damaged_download_leaves_no_file(archive, monkeypatch):
    archive.unlink()

    class Response(io.BytesIO):
        headers = {}

    monkeypatch.setattr(pretrained.urllib.request, "urlopen", lambda url, timeout: Response(b"half of it"))
    with pytest.raises(FileNotFoundError, match="could not be downloaded .*the download is damaged"):
        load_clip("ViT-B/32")
    assert list(archive.parent.iterdir()) == []


def test_offline_error_has_url_and_path(archive, monkeypatch):
    archive.unlink()
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", no_network)
    with pytest.raises(FileNotFoundError) as error:
        load_clip("ViT-B/32")
    message = str(error.value)
    assert "Download https://example.org/clip/ViT-B-32.pt" in message
    assert f"put the file at {archive}" in message and "\n" not in message


@pytest.fixture
def tiny_open_clip(monkeypatch):
    """open_clip with one small model and weights tagged `here`, without a download."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 16, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 600, "width": 64, "heads": 4, "layers": 1},
    }
    weights = {"hf_hub": "someone/tiny", "mean": open_clip.OPENAI_DATASET_MEAN, "interpolation": "bicubic"}
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: config if name == "tiny" else None)
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["here"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: weights)
    model = open_clip.CLIP(**config).eval()
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: model)
    return config, weights, model


def test_open_clip_model_has_the_same_embeddings(tiny_open_clip):
    reference = tiny_open_clip[2]
    clip = load_clip("open_clip:tiny/here")
    assert clip.architecture == ClipArchitecture.from_dict(
        {**SIZES, "vision_heads": 4, "text_heads": 4, "activation": "gelu"}
    )
    image, tokens = torch.randn(2, 3, 16, 16), clip.text.tokenize(["striped circle", "cat"])
    torch.testing.assert_close(clip.visual(image), reference.encode_image(image), atol=1e-5, rtol=1e-5)
    padded = torch.nn.functional.pad(tokens, (0, 12 - tokens.shape[1]))
    torch.testing.assert_close(clip.text(tokens), reference.encode_text(padded), atol=1e-5, rtol=1e-5)


def test_open_clip_weights_trained_with_quick_gelu(tiny_open_clip):
    tiny_open_clip[1]["quick_gelu"] = True  # of the weights; the model configuration lacks it
    assert load_clip("open_clip:tiny/here").architecture.activation == "quick_gelu"


def test_open_clip_weights_carry_their_preprocessing(tiny_open_clip):
    tiny_open_clip[1].update(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.25), interpolation="bilinear", resize_mode="squash")
    expected = ClipPreprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.25), interpolation="bilinear")
    assert load_clip("open_clip:tiny/here").preprocessing == expected


def test_plain_vit_of_open_clip_with_another_normalization(monkeypatch):
    monkeypatch.setattr(open_clip, "create_model", lambda *args, **kwargs: torch.nn.Module())  # no download
    weights = pretrained.read_open_clip("ViT-L-14/laion2b_s32b_b82k")
    assert weights.preprocessing.mean == weights.preprocessing.std == (0.5, 0.5, 0.5)


def test_open_clip_names_that_do_not_work(tiny_open_clip, monkeypatch):
    config = tiny_open_clip[0]
    with pytest.raises(ValueError, match="open_clip has no model 'huge'"):
        load_clip("open_clip:huge/here")
    with pytest.raises(ValueError, match="no weights 'there' for tiny; write open_clip:tiny/TAG with one of: here"):
        load_clip("open_clip:tiny/there")

    def offline(*args, **kwargs):
        raise RuntimeError("no connection")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(FileNotFoundError, match=r"no connection.*weights of someone/tiny .*preprocessing=Clip"):
        load_clip("open_clip:tiny/here")
    config["vision_cfg"]["attentional_pool"] = True
    with pytest.raises(ValueError, match="tiny is not supported: .* it has attentional_pool"):
        load_clip("open_clip:tiny/here")


@pytest.mark.parametrize(
    "model", ["RN50", "ViT-B-16-SigLIP", "coca_ViT-B-32", "convnext_base", "xlm-roberta-base-ViT-B-32"]
)
def test_unsupported_open_clip_models_are_named(model):
    with pytest.raises(ValueError, match=f"open_clip's {model} is not supported"):
        load_clip(f"open_clip:{model}/any")
