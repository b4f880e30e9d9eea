"""Sources of CLIP weights, with files made here; nothing is downloaded."""

import hashlib
import socket
import time

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from masqclip_d2.clip import ClipArchitecture, ClipPreprocessing, build_clip, load_clip, pretrained
from masqclip_d2.hub import cache_dir
from tests.clip.tiny_clip import SIZES, assert_same, tiny_clip
from tests.helpers import VIT_L_336, write_torchscript


@pytest.fixture
def clip():
    return tiny_clip()


@pytest.fixture
def archive(clip, file_server, monkeypatch):
    """A TorchScript archive that is listed as OpenAI's ViT-B/32, served and in the cache."""
    path = cache_dir() / "ViT-B-32.pt"
    path.parent.mkdir()
    write_torchscript(clip, path)
    content = path.read_bytes()
    listed = {
        **pretrained.OPENAI_MODELS["ViT-B/32"],
        "url": file_server.add("/clip/ViT-B-32.pt", content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "architecture": {
            "vision_heads": SIZES["vision_heads"],
            "text_heads": SIZES["text_heads"],
            "activation": "quick_gelu",
        },
    }
    monkeypatch.setattr(pretrained, "OPENAI_MODELS", {"ViT-B/32": listed})
    return path


def test_openai_models_have_checksums():
    models = pretrained.OPENAI_MODELS
    assert set(models) == {"ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"}
    assert all(model["sha256"] in model["url"] and len(model["sha256"]) == 64 for model in models.values())


def test_open_clip_has_the_copies_of_openai_models_in_its_table(own_cache):
    for name, model in pretrained.OPENAI_MODELS.items():
        weights = open_clip.get_pretrained_cfg(_open_clip_name(name), "openai")
        assert (weights["url"], weights["hf_hub"]) == (model["url"], f"{model['hub_copy']}/")
        first, *copies = pretrained.openai_file(name).places
        assert first.url == model["url"] and first.path == cache_dir() / model["url"].rsplit("/", 1)[1]
        assert [place.source for place in copies] == [
            f"hf://{model['hub_copy']}/open_clip_model.safetensors@main",
            f"hf://{model['hub_copy']}/open_clip_pytorch_model.bin@main",
        ]


def test_the_folder_of_openais_own_package_is_used(own_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pretrained.openai_file("ViT-B/32").places[0].elsewhere == ()
    monkeypatch.delenv("MASQCLIP_CACHE")
    assert pretrained.openai_file("ViT-B/32").places[0].elsewhere == (tmp_path / ".cache" / "clip" / "ViT-B-32.pt",)


def test_sizes_of_openai_models_need_no_files(own_cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ClipArchitecture.from_name("ViT-L/14@336px") == ClipArchitecture.from_dict(VIT_L_336)
    with torch.device("meta"):
        clip = load_clip("ViT-L/14@336px")
    assert clip.visual.positional_embedding.shape == (577, 1024) and clip.visual.proj.is_meta
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    for name in pretrained.OPENAI_MODELS:  # open_clip has the same sizes under its own names
        assert ClipArchitecture.from_name(name) == ClipArchitecture.from_name(
            f"open_clip:{_open_clip_name(name)}/openai"
        )
        sizes, config = ClipArchitecture.from_name(name), open_clip.get_model_config(_open_clip_name(name))
        vision, text = config["vision_cfg"], config["text_cfg"]
        assert (sizes.image_resolution, sizes.patch_size) == (vision["image_size"], vision["patch_size"])
        assert (sizes.vision_width, sizes.vision_layers) == (vision["width"], vision["layers"])
        assert sizes.vision_heads == vision["width"] // vision.get("head_width", 64)
        assert (sizes.text_width, sizes.text_layers, sizes.text_heads) == (text["width"], text["layers"], text["heads"])
        assert (sizes.embed_dim, sizes.vocab_size) == (config["embed_dim"], text["vocab_size"])


def _open_clip_name(name):
    return name.replace("/", "-").replace("@336px", "-336")


def test_openai_archive_by_name_and_by_path(clip, archive, file_server):
    assert_same(load_clip("ViT-B/32"), clip)
    assert_same(load_clip(archive), clip)
    assert file_server.requests == []


def test_unlisted_archive_is_not_opened(clip, archive, tmp_path, monkeypatch):
    other = tmp_path / "other.pt"
    write_torchscript(build_clip(SIZES), other)
    monkeypatch.setattr(torch.jit, "load", lambda *a, **k: pytest.fail("was opened"))
    with pytest.raises(ValueError, match="other.pt is a TorchScript archive, which can run code.*save its state dict"):
        load_clip(other)


def test_archive_is_downloaded_once(clip, archive, file_server):
    archive.unlink()
    assert_same(load_clip("ViT-B/32"), clip)
    assert archive.is_file()
    load_clip("ViT-B/32")
    assert len(file_server.requests) == 1


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_openais_address_is_dead(clip, archive, file_server, tmp_path, name):
    archive.unlink()
    file_server.add("/clip/ViT-B-32.pt", status=404)
    copy = tmp_path / name
    save = save_file if name.endswith(".safetensors") else torch.save
    save(clip.openai_state_dict(), copy)
    file_server.add(f"/timm/vit_base_patch32_clip_224.openai/resolve/main/{name}", copy.read_bytes())
    assert_same(load_clip("ViT-B/32"), clip)
    assert not archive.exists()


def test_damaged_download_leaves_no_file(archive, file_server):
    archive.unlink()
    file_server.add("/clip/ViT-B-32.pt", b"half of it")
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .*the download is damaged.*HTTP 404"):
        load_clip("ViT-B/32")
    assert list(archive.parent.glob("*.pt*")) == []


def test_offline_error_has_url_and_path(archive, file_server, monkeypatch):
    archive.unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError) as error:
        load_clip("ViT-B/32")
    message = str(error.value)
    assert f"Download {file_server.url}/clip/ViT-B-32.pt" in message
    assert f"put the file at {archive}" in message and "\n" not in message


def test_offline_is_answered_within_seconds(own_cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens at the port "discard"
    weights = {**open_clip.get_pretrained_cfg("ViT-L-14-336", "openai"), "url": "http://127.0.0.1:9/ViT-L-14-336px.pt"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED["ViT-L-14-336"], "openai", weights)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match="127.0.0.1:9 refuses the connection"):
        load_clip("open_clip:ViT-L-14-336/openai")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(("offline", "hosts"), [(True, 0), (False, 2)], ids=["HF_HUB_OFFLINE", "no network"])
def test_each_host_is_asked_once_without_a_network(own_cache, monkeypatch, offline, hosts):
    """The name has three places on two hosts; a host that does not answer takes seconds, so it is not asked again."""
    attempts = []

    def connect(address, *args, **kwargs):
        attempts.append(address[0])
        raise TimeoutError("timed out")

    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setenv("HF_HUB_OFFLINE", str(int(offline)))
    for name in ("open_clip:ViT-L-14-336/openai", "ViT-L/14@336px"):
        attempts.clear()
        with pytest.raises(FileNotFoundError, match="is not on this disk"):
            load_clip(name)
        assert len(attempts) == len(set(attempts)) == hosts


@pytest.fixture
def tiny_open_clip(file_server, tmp_path, monkeypatch):
    """open_clip with one small model, whose weights tagged `here` are served."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 16, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 600, "width": 64, "heads": 4, "layers": 1},
    }
    weights = {"hf_hub": "someone/tiny/", "mean": open_clip.OPENAI_DATASET_MEAN, "interpolation": "bicubic"}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"here": weights})
    model = open_clip.CLIP(**config).eval()
    torch.save(model.state_dict(), tmp_path / "tiny.bin")
    content = (tmp_path / "tiny.bin").read_bytes()
    file_server.add("/someone/tiny/resolve/main/open_clip_pytorch_model.bin", content)
    return config, weights, model


def test_open_clip_model_has_the_same_embeddings(tiny_open_clip):
    reference = tiny_open_clip[2]
    clip = load_clip("open_clip:tiny/here")
    assert clip.architecture == ClipArchitecture.from_dict(
        {**SIZES, "vision_heads": 4, "text_heads": 4, "activation": "gelu"}
    )
    assert_equals_open_clip(clip, reference)


def assert_equals_open_clip(clip, reference):
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


@pytest.mark.parametrize(
    ("name", "mean", "std", "activation"),
    [
        ("ViT-L-14/datacomp_xl_s13b_b90k", "openai", "openai", "gelu"),
        ("ViT-B-16/datacomp_xl_s13b_b90k", "openai", "openai", "gelu"),
        ("ViT-L-14/laion2b_s32b_b82k", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "gelu"),
        ("ViT-B-16/laion2b_s34b_b88k", "openai", "openai", "gelu"),
        ("ViT-H-14/laion2b_s32b_b79k", "openai", "openai", "gelu"),
        ("ViT-L-14-336/openai", "openai", "openai", "quick_gelu"),
        ("ViT-L-14/metaclip_400m", "openai", "openai", "quick_gelu"),
        ("EVA02-L-14-336/merged2b_s6b_b61k", "openai", "openai", "gelu"),
    ],
)
def test_released_models_have_their_own_normalization_and_activation(name, mean, std, activation, own_cache):
    """What does not follow from the file: a file of another, tiny CLIP stands in its place."""
    path = pretrained.open_clip_file(name).places[0].path
    path.parent.mkdir(parents=True)
    save_file({"logit_scale": torch.zeros(())}, path)
    weights = pretrained.read_open_clip(name)
    expected = {
        "mean": open_clip.OPENAI_DATASET_MEAN if mean == "openai" else mean,
        "std": open_clip.OPENAI_DATASET_STD if std == "openai" else std,
    }
    assert weights.preprocessing == ClipPreprocessing(**expected, interpolation="bicubic")
    assert weights.known_sizes["activation"] == activation


def test_a_file_of_open_clip_is_read_without_building_its_network(tiny_open_clip, file_server, monkeypatch, tmp_path):
    """Also a checkpoint of open_clip's training, with prefixes and a table that follows from the sizes."""
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: pytest.fail("a second network was built"))
    tensors = {f"module.{name}": tensor for name, tensor in tiny_open_clip[2].state_dict().items()}
    torch.save({"epoch": 3, "state_dict": {**tensors, "module.attn_mask": torch.zeros(12, 12)}}, tmp_path / "clip.bin")
    path = "/someone/tiny/resolve/main/open_clip_pytorch_model.bin"
    file_server.add(path, (tmp_path / "clip.bin").read_bytes())
    assert_equals_open_clip(load_clip("open_clip:tiny/here"), tiny_open_clip[2])


def test_places_of_open_clips_weights(archive, file_server, tiny_open_clip):
    def sources():
        return [place.source for place in pretrained.open_clip_file("tiny/here").places]

    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    assert sources() == [f"hf://someone/tiny/{name}@main" for name in names]
    tiny_open_clip[1].update(hf_hub="someone/many/tiny.bin", url="https://example.org/tiny.pt")
    assert sources() == [
        "hf://someone/many/tiny.safetensors@main", "hf://someone/many/tiny.bin@main", "https://example.org/tiny.pt",
    ]  # fmt: skip
    tiny_open_clip[1].update(hf_hub="", url=f"{file_server.url}/clip/ViT-B-32.pt")
    assert pretrained.open_clip_file("tiny/here").fetch() == archive and file_server.requests == []
    tiny_open_clip[1].update(url="")
    with pytest.raises(ValueError, match="open_clip states no address of the weights tiny/here"):
        sources()


def test_openais_archive_under_open_clips_name(clip, archive, file_server, tiny_open_clip):
    """open_clip opens such an archive without a check of its sha256."""
    tiny_open_clip[1].update(hf_hub="", url=f"{file_server.url}/clip/ViT-B-32.pt", quick_gelu=True)
    weights = pretrained.read_open_clip("tiny/here")
    torch.testing.assert_close(weights.tensors["visual.proj"], clip.visual.proj.detach())


def test_open_clip_names_that_do_not_work(tiny_open_clip, file_server):
    config = tiny_open_clip[0]
    with pytest.raises(ValueError, match="open_clip has no model 'huge'"):
        load_clip("open_clip:huge/here")
    with pytest.raises(ValueError, match="no weights 'there' for tiny; write open_clip:tiny/TAG with one of: here"):
        load_clip("open_clip:tiny/there")

    file_server.files.clear()
    with pytest.raises(FileNotFoundError, match=r"open_clip:tiny/here is not on this disk .*someone/tiny.*HTTP 404"):
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
