"""convert_checkpoint: whatever MODEL.WEIGHTS reads becomes safetensors in our names, and every name is told."""

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from safetensors.torch import load_file, save_file

from masqclip_d2.checkpoint import StrictCheckpointer
from masqclip_d2.cli.convert import main
from masqclip_d2.clip import pretrained as clip_sources
from masqclip_d2.clip.model import build_clip, load_clip, save_clip
from masqclip_d2.config import load_config
from masqclip_d2.engine.conversion import convert_checkpoint
from tests.helpers import TINY_CLIP, VIT_L_336, published_name, tiny_config, write_torchscript

ROOT = Path(__file__).resolve().parents[2]
KEYS = json.loads((ROOT / "tests" / "golden" / "checkpoint_keys.json").read_text())


def config_file(folder, meta_architecture, *opts):
    """A tiny configuration as a file; its CLIP comes from another file."""
    path = folder / "clip.safetensors"
    save_clip(path, build_clip(TINY_CLIP))
    cfg = tiny_config(folder, meta_architecture, *opts)
    cfg.MODEL.MASQCLIP.CLIP.NAME, cfg.MODEL.MASQCLIP.CLIP.ARCHITECTURE = str(path), ""
    (folder / "config.yaml").write_text(cfg.dump())
    return str(folder / "config.yaml")


def random_state(model):
    return {name: torch.randn_like(tensor.float()).to(tensor.dtype) for name, tensor in model.state_dict().items()}


@pytest.fixture
def teacher(tmp_path):
    """Config file and random weights of a tiny proposer."""
    config = config_file(tmp_path, "MaskProposer")
    return config, random_state(build_model(load_config(config)))


@pytest.mark.parametrize(
    ("meta_architecture", "opts"),
    [
        ("MaskCLIP", ("MODEL.MASQCLIP.RMA.LAYERS", "[6, 12, 18, 24]", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "0")),
        ("MasQCLIP", ()),
    ],
)
def test_published_file_loads_the_same_before_and_after(tmp_path, meta_architecture, opts, monkeypatch):
    monkeypatch.setitem(TINY_CLIP, "vision_layers", 24)
    config = config_file(tmp_path, meta_architecture, *opts)
    model = build_model(load_config(config))
    kind = meta_architecture.lower()
    published = {
        published_name(name, kind): tensor
        for name, tensor in random_state(model).items()
        if not name.startswith("text_classifier.")
    }
    published["criterion.empty_weight"] = torch.ones(134)
    torch.save({"model": published, "iteration": 9999}, tmp_path / "published.pth")
    text = convert_checkpoint(str(tmp_path / "published.pth"), tmp_path / "new.safetensors", config)

    StrictCheckpointer(model).load(str(tmp_path / "published.pth"))
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = build_model(load_config(config))
    StrictCheckpointer(other).load(str(tmp_path / "new.safetensors"))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in other.state_dict().items())
    written = load_file(tmp_path / "new.safetensors")
    assert set(written) == {name for name in expected if not name.startswith("text_classifier.")}
    assert all(torch.equal(tensor, expected[name]) for name, tensor in written.items())
    assert f"read as published {meta_architecture}" in text
    assert f"renamed: {kind}.visual.conv1.weight -> visual_encoder.visual.conv1.weight (1)" in text
    assert "left out, as expected: criterion.empty_weight (1)" in text
    assert "not in the file, as expected: text_classifier.text_encoder.token_embedding.weight (1)" in text
    assert "not part of the model: iteration" in text
    names = convert_checkpoint(str(tmp_path / "published.pth"), tmp_path / "names.safetensors")  # without a config
    assert set(load_file(tmp_path / "names.safetensors")) == set(written) and "published" in names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "config"),
    [("maskclip", "maskclip_r50"), ("masqclip", "masqclip_r50"), ("mask2former_class_agnostic", "coco/teacher_r50")],
)
def test_every_published_name_at_full_size(tmp_path, entry, config):
    """The shipped configurations name OpenAI's CLIP, whose sizes are known without its file."""
    one_byte = torch.zeros((), dtype=torch.float8_e4m3fn)
    tensors = {name: one_byte.clone().expand(shape) for name, shape in KEYS[entry]["entries"]}
    torch.save({"model": tensors}, tmp_path / "published.pth")
    convert_checkpoint(str(tmp_path / "published.pth"), tmp_path / "new.safetensors", config)
    written = load_file(tmp_path / "new.safetensors")

    def sizes(tensors):  # a criterion's weights are those of the config
        return sorted(tensor.numel() for name, tensor in tensors.items() if not name.startswith("criterion."))

    assert sizes(written) == sizes(tensors)


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_proposer_from_every_format(tmp_path, teacher, suffix):
    config, state = teacher
    path = tmp_path / f"teacher{suffix}"
    if suffix == ".pth":
        inside_ddp = {f"module.{name}": tensor for name, tensor in state.items()}
        torch.save({"model": inside_ddp, "optimizer": {}, "iteration": 3}, path)
    elif suffix == ".pkl":
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "someone"}))
    else:
        save_file(state, path)
    convert_checkpoint(str(path), tmp_path / "new.safetensors", config)
    written = load_file(tmp_path / "new.safetensors")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in state.items())
    model = build_model(load_config(config))
    StrictCheckpointer(model).load(str(tmp_path / "new.safetensors"))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_tensors_that_share_memory_and_keep_their_dtype(tmp_path):
    table = torch.arange(6.0).view(2, 3).bfloat16()
    torch.save({"backbone.a": table, "head.b": table.t(), "head.c": torch.tensor(2)}, tmp_path / "tied.pth")
    convert_checkpoint(str(tmp_path / "tied.pth"), tmp_path / "new.safetensors")
    written = load_file(tmp_path / "new.safetensors")
    assert torch.equal(written["backbone.a"], table) and torch.equal(written["head.b"], table.t())
    assert written["head.c"].item() == 2


def test_names_that_do_not_fit_are_listed_and_nothing_is_written(tmp_path, teacher, capsys):
    config, state = teacher
    del state["sem_seg_head.predictor.query_feat.weight"]
    torch.save({**state, "spare.weight": torch.zeros(1)}, tmp_path / "teacher.pth")
    error = refusal(capsys, tmp_path / "teacher.pth", tmp_path / "new.safetensors", "--config-file", config)
    assert "1 missing: sem_seg_head.predictor.query_feat.weight" in error and "1 unexpected: spare.weight" in error
    assert not list(tmp_path.glob("new*"))


def test_another_configuration_is_named_by_shapes(tmp_path, teacher, capsys):
    config, state = teacher
    torch.save(state, tmp_path / "teacher.pth")
    opts = ("--opts", "MODEL.MASK_FORMER.DIM_FEEDFORWARD", "48")
    error = refusal(capsys, tmp_path / "teacher.pth", tmp_path / "new.safetensors", "--config-file", config, *opts)
    assert "instead of (48, 64)" in error and "the config that the weights" in error


def test_what_only_loading_can_add_is_missed(tmp_path, monkeypatch):
    """Published files have no text tower; a config whose CLIP comes from no file cannot get it from a converted one."""
    monkeypatch.setitem(TINY_CLIP, "vision_layers", 24)
    cfg = tiny_config(tmp_path, "MasQCLIP")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    published = {
        published_name(name, "masqclip"): tensor
        for name, tensor in build_model(cfg).state_dict().items()
        if not name.startswith("text_classifier.")
    }
    torch.save(published, tmp_path / "published.pth")
    with pytest.raises(ValueError, match=r"missing: text_classifier\..*MODEL\.MASQCLIP\.CLIP\.NAME"):
        convert_checkpoint(str(tmp_path / "published.pth"), tmp_path / "new.safetensors", str(tmp_path / "config.yaml"))


@pytest.mark.parametrize("config", ["coco/teacher_r50", None])
def test_imagenet_backbones_stay_as_they_are(tmp_path, config):
    cfg = load_config("coco/teacher_r50", ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        backbone = build_model(cfg).backbone
    tensors = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in backbone.state_dict().items()}
    torch.save({**tensors, "stem.fc.weight": torch.zeros(1)}, tmp_path / "r50.pth")
    with pytest.raises(ValueError, match="ImageNet backbone.*nothing to convert"):
        convert_checkpoint(str(tmp_path / "r50.pth"), tmp_path / "new.safetensors", config)


def test_openais_archive(tmp_path, monkeypatch):
    clip = build_clip({**TINY_CLIP, "vision_width": 64, "vision_heads": 1, "text_width": 64, "text_heads": 1}).eval()
    archive = tmp_path / "ViT-B-32.pt"
    write_torchscript(clip, archive)
    output = tmp_path / "clip.safetensors"
    with pytest.raises(ValueError, match="sha256"):
        convert_checkpoint(str(archive), output)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(clip_sources.OPENAI_MODELS["ViT-B/32"], "sha256", digest)
    assert "MODEL.MASQCLIP.CLIP.NAME" in convert_checkpoint(str(archive), output)
    loaded = load_clip(output)
    assert loaded.architecture == clip.architecture
    expected = clip.openai_state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.openai_state_dict().items())


def test_plain_clip_takes_what_weights_cannot_tell_from_the_config(tmp_path):
    clip = build_clip({**TINY_CLIP, "activation": "gelu"})
    torch.save(clip.openai_state_dict(), tmp_path / "plain.pt")
    (tmp_path / "sizes.json").write_text(json.dumps(clip.architecture.to_dict()))
    opts = ("MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tmp_path / "sizes.json"))
    convert_checkpoint(str(tmp_path / "plain.pt"), tmp_path / "clip.safetensors", "maskclip_r50", opts)
    assert load_clip(tmp_path / "clip.safetensors").architecture == clip.architecture
    (tmp_path / "sizes.json").write_text(json.dumps(VIT_L_336))
    with pytest.raises(ValueError, match="another architecture"):
        convert_checkpoint(str(tmp_path / "plain.pt"), tmp_path / "other.safetensors", "maskclip_r50", opts)


def refusal(capsys, *words):
    """The one sentence that the command answers `words` with."""
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_bad_files_are_told_in_one_sentence(tmp_path, capsys):
    torch.save({"backbone.a": torch.zeros(1000)}, tmp_path / "whole.pth")
    (tmp_path / "truncated.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:-900])
    (tmp_path / "text.pth").write_text("not a checkpoint at all")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "folder.pth").mkdir()
    for name, message in {
        "missing.pth": "missing.pth' do not exist",
        "folder.pth": "folder.pth' are a folder",
        "truncated.pth": "truncated",
        "text.pth": "damaged",
        "list.pth": "holds a list, not a state dict",
    }.items():
        assert message in refusal(capsys, tmp_path / name, tmp_path / "new.safetensors"), name
    assert not (tmp_path / "new.safetensors").exists()


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path, capsys):
    torch.save({"backbone.a": torch.zeros(2), "head.b": torch.ones(1)}, tmp_path / "old.pth")
    output = tmp_path / "new.safetensors"
    output.write_text("precious")
    assert "--overwrite" in refusal(capsys, tmp_path / "old.pth", output)
    assert output.read_text() == "precious"
    main([str(tmp_path / "old.pth"), str(output), "--overwrite"])
    assert set(load_file(output)) == {"backbone.a", "head.b"}
    assert "needs the suffix .safetensors" in refusal(capsys, tmp_path / "old.pth", tmp_path / "new.pth")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    torch.save({"backbone.a": torch.zeros(2), "head.b": torch.ones(1)}, tmp_path / "old.pth")
    output = tmp_path / "out" / "new.safetensors"
    output.parent.mkdir()
    output.write_text("precious")

    def full_disk(tensors, path, metadata):
        Path(path).write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        convert_checkpoint(str(tmp_path / "old.pth"), output, overwrite=True)
    assert [file.name for file in output.parent.iterdir()] == ["new.safetensors"]
    assert output.read_text() == "precious"


@pytest.mark.parametrize(
    ("meta_architecture", "opts"),
    [
        ("MaskCLIP", ("MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "0")),
        ("MasQCLIP", ("MODEL.MASQCLIP.MASQ_TUNING.TRAIN_POSITION", "True")),
    ],
)
def test_half_without_clip_keeps_what_was_learned(tmp_path, meta_architecture, opts):
    config = config_file(tmp_path, meta_architecture, *opts)
    model = build_model(load_config(config))
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in learned or name.startswith("proposer."):
                parameter.uniform_(-1, 1)
    torch.save({"model": model.state_dict()}, tmp_path / "trained.pth")
    output = tmp_path / "small.safetensors"
    text = convert_checkpoint(str(tmp_path / "trained.pth"), output, config, half=True, without_clip=True)
    written = load_file(output)
    assert learned <= set(written) and all(name in learned or name.startswith("proposer.") for name in written)
    assert {tensor.dtype for tensor in written.values() if tensor.is_floating_point()} == {torch.float16}
    assert "left out, as expected: visual_encoder.visual.conv1.weight (1)" in text
    other = build_model(load_config(config))  # with the same CLIP, by its name
    StrictCheckpointer(other).load(str(output))
    expected = model.state_dict()
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=5e-4, rtol=1e-3, msg=name)


def test_without_clip_needs_a_clip_from_elsewhere(tmp_path, capsys, teacher):
    config, state = teacher
    torch.save(state, tmp_path / "teacher.pth")
    output = tmp_path / "small.safetensors"
    assert "needs --config-file" in refusal(capsys, tmp_path / "teacher.pth", output, "--without-clip")
    clip = tmp_path / "clip.safetensors"
    assert "nothing is left" in refusal(capsys, clip, output, "--without-clip")
    main([str(clip), str(output), "--half"])
    assert {tensor.dtype for tensor in load_file(output).values()} == {torch.float16}
