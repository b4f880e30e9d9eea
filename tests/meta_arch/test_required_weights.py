"""The weights of a model are looked for before anything is downloaded or built."""

import hashlib

import pytest
import torch

from masqclip_d2 import Predictor
from masqclip_d2.checkpoint.reading import SHIPPED_DIR
from masqclip_d2.cli import train
from masqclip_d2.clip import pretrained
from masqclip_d2.config import load_config
from masqclip_d2.hub import place_of
from masqclip_d2.meta_arch import required_weights as module
from masqclip_d2.meta_arch.required_weights import fetch_required_weights, required_weights

CLIP, WEIGHTS, TEACHER = module.CLIP_KEY, module.WEIGHTS_KEY, module.TEACHER_KEY
SHIPPED_CLIP = SHIPPED_DIR / "shapes_clip.safetensors"
SAMPLE = SHIPPED_DIR.parent / "shapes" / "samples" / "shapes_1.png"


def config(name="shapes/masqclip", *opts):
    return load_config(name, list(opts))


def keys(cfg, **options):
    return [(each.key, each.source) for each in required_weights(cfg, **options)]


def test_weights_of_methods_proposers_and_teachers():
    shipped = [(CLIP, "masqclip://shapes_clip"), (WEIGHTS, "masqclip://x")]
    assert keys(config("shapes/masqclip", WEIGHTS, "masqclip://x")) == shipped
    assert keys(config("shapes/masqclip", WEIGHTS, "masqclip://x"), resumes=True) == shipped[:1]
    assert keys(config("shapes/teacher", WEIGHTS, "a.pth")) == [(WEIGHTS, "a.pth")]
    assert keys(config("shapes/teacher", WEIGHTS, "")) == []
    student = config("shapes/student", WEIGHTS, "a.pth")
    assert keys(student, training=True, resumes=True) == [(WEIGHTS, "a.pth")]
    assert keys(student) == [(WEIGHTS, "a.pth")]
    with_teacher = config("shapes/student", WEIGHTS, "a.pth", TEACHER, "b.pth")
    assert keys(with_teacher, training=True) == [(WEIGHTS, "a.pth"), (TEACHER, "b.pth")]
    assert keys(with_teacher, training=True, resumes=True) == [(TEACHER, "b.pth")]
    assert keys(with_teacher) == [(WEIGHTS, "a.pth")]


def test_sources_of_other_programs_and_clips_of_other_builders_are_left_out():
    assert keys(config("shapes/masqclip", WEIGHTS, "catalog://a/b", "MODEL.MASQCLIP.CLIP.BUILDER", "Mine")) == []


def test_which_are_on_this_disk(file_server, tmp_path):
    (tmp_path / "a.pth").touch()
    found = required_weights(config("maskclip_r50", WEIGHTS, str(tmp_path / "a.pth")))
    assert [(each.key, each.path, each.file is None) for each in found] == [
        (CLIP, None, False),
        (WEIGHTS, tmp_path / "a.pth", True),
    ]
    stored = place_of(file_server.add("/c.pth", b"\x80 weights")).path
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"\x80 weights")
    found = required_weights(config("shapes/masqclip", WEIGHTS, f"{file_server.url}/c.pth"))
    assert [each.path for each in found] == [SHIPPED_CLIP, stored] and file_server.requests == []


def test_all_missing_weights_are_in_one_sentence(file_server, own_cache):
    cfg = config("maskclip_r50", WEIGHTS, "none.pth", CLIP, f"{file_server.url}/clip.pt")
    with pytest.raises(FileNotFoundError) as error:
        fetch_required_weights(cfg)
    clip = f"{CLIP} {file_server.url}/clip.pt (looked at {place_of(file_server.url + '/clip.pt').path}, "
    message = str(error.value)
    assert message.startswith(f"Weights are missing on this disk: {clip}") and "\n" not in message
    assert f"can be downloaded); {WEIGHTS} none.pth (no such file). `masqclip download NAME` stores" in message
    assert file_server.requests == [], "nothing is asked as long as a file of this disk is missing"


def test_nothing_is_downloaded_if_a_server_lacks_one(file_server):
    big, other = file_server.add("/clip.pt", bytes(3_000_000)), f"{file_server.url}/none.pth"
    with pytest.raises(FileNotFoundError, match=r"clip.pt .*can be downloaded\); .*none.pth: HTTP 404"):
        fetch_required_weights(config("maskclip_r50", CLIP, big, WEIGHTS, other))
    assert file_server.sent < 100 and not place_of(big).path.exists()
    file_server.add("/none.pth", b"\x80 weights")
    fetch_required_weights(config("maskclip_r50", CLIP, big, WEIGHTS, other))
    assert place_of(big).path.is_file() and place_of(other).path.is_file()


def test_offline(file_server, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cfg = config("maskclip_r50", WEIGHTS, "hf://o/r/m.pth")
    with pytest.raises(FileNotFoundError) as error:
        fetch_required_weights(cfg)
    message = str(error.value)
    assert message.count("HF_HUB_OFFLINE forbids downloads") == 2 and "timm/vit_large_patch14_clip_336" in message
    assert file_server.requests == []


def test_a_single_missing_file_has_the_advice_for_its_key(own_cache):
    with pytest.raises(FileNotFoundError, match=r"Weights 'none.pth' do not exist. Train the stage that writes them"):
        fetch_required_weights(config("shapes/masqclip", WEIGHTS, "none.pth"))
    with pytest.raises(FileNotFoundError, match=r"CLIP 'none.pt' is neither a file nor a known name"):
        fetch_required_weights(config("shapes/masqclip", CLIP, "none.pt", WEIGHTS, ""))


@pytest.fixture
def no_model(monkeypatch):
    """Building a model fails the test."""
    monkeypatch.setattr("detectron2.modeling.build_model", lambda cfg: pytest.fail("a model was built"))
    monkeypatch.setattr(torch.nn.Module, "__init__", lambda *a, **k: pytest.fail("a module was built"))


def test_predictor_and_training_look_first(file_server, no_model, capsys, tmp_path):
    opts = [WEIGHTS, "none.pth", CLIP, f"{file_server.url}/clip.pt"]
    with pytest.raises(FileNotFoundError, match="Weights are missing on this disk"):
        Predictor("maskclip_r50", opts=opts)
    with pytest.raises(SystemExit):
        train.main(["--config-file", "maskclip_r50", "--num-gpus", "0", "OUTPUT_DIR", str(tmp_path), *opts])
    assert "error: Weights are missing on this disk" in capsys.readouterr().err
    assert file_server.requests == []


def test_predictor_from_nothing_with_a_server(file_server, monkeypatch):
    """From an empty cache: CLIP by OpenAI's name from a copy of the Hub, the method from an address."""
    content = SHIPPED_CLIP.read_bytes()
    file_server.add("/someone/clip/resolve/main/open_clip_model.safetensors", content)
    method = file_server.add("/method.safetensors", (SHIPPED_DIR / "shapes_masqclip.safetensors").read_bytes())
    architecture = pretrained.read_clip_weights("masqclip://shapes_clip").known_sizes
    listed = {
        "url": f"{file_server.url}/dead.pt",
        "sha256": hashlib.sha256(b"").hexdigest(),
        "hub_copy": "someone/clip",
        "architecture": architecture,
    }
    monkeypatch.setitem(pretrained.OPENAI_MODELS, "ViT-B/32", listed)
    predictor = Predictor("shapes/masqclip", weights=method, opts=[CLIP, "ViT-B/32"])
    result = predictor(SAMPLE, "plain cross,ringed square", stuff="sand")
    expected = Predictor()(SAMPLE, "plain cross,ringed square", stuff="sand")
    assert [segment.area for segment in result.segments] == [segment.area for segment in expected.segments]
    assert result.segments
