"""Build, save and load a CLIP."""

import pickle

import pytest
import torch

from masqclip_d2.clip import ClipPreprocessing, build_clip, load_clip, save_clip
from tests.clip.tiny_clip import SIZES, assert_same, tiny_clip
from tests.helpers import write_torchscript


@pytest.fixture
def clip():
    return tiny_clip()


def test_saved_clip_loads_the_same(clip, tmp_path):
    path = tmp_path / "new" / "clip.safetensors"
    save_clip(path, clip)
    assert_same(load_clip(path), clip)
    assert [file.name for file in path.parent.iterdir()] == ["clip.safetensors"]


def test_saved_clip_keeps_heads_activation_and_preprocessing(tmp_path):
    model = build_clip({**SIZES, "vision_heads": 4, "activation": "gelu"}).eval()
    model.visual.preprocessing = ClipPreprocessing(mean=(0.5, 0.4, 0.3), std=(0.5, 0.5, 0.5), interpolation="bilinear")
    save_clip(tmp_path / "clip.safetensors", model)
    loaded = load_clip(tmp_path / "clip.safetensors")
    assert loaded.architecture == model.architecture and loaded.preprocessing == model.preprocessing
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


def test_preprocessing_of_a_plain_state_dict_can_be_given(clip, tmp_path):
    torch.save(clip.openai_state_dict(), tmp_path / "clip.pt")
    half = ClipPreprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert load_clip(tmp_path / "clip.pt").preprocessing == ClipPreprocessing()
    assert load_clip(tmp_path / "clip.pt", preprocessing=half).preprocessing == half


def test_can_be_pickled(clip, tmp_path):
    clip.text.encode(["cat"])  # the tokenizer is in use
    copy = pickle.loads(pickle.dumps(clip))
    assert torch.equal(copy.text.encode(["dog"]), clip.text.encode(["dog"]))


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
    with pytest.raises(ValueError, match="clip.pt: The vision tower is a ResNet"):
        load_clip(path)
    tensors = clip.openai_state_dict()
    torch.save(tensors, path)
    with pytest.raises(ValueError, match="another architecture: they have vision_width 64, not 32"):
        load_clip(path, architecture={"vision_width": 32})
    del tensors["ln_final.weight"]
    torch.save({**tensors, "extra": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"1 names are missing \(ln_final.weight\), 1 are unexpected \(extra\)"):
        load_clip(path)


def test_unknown_name():
    with pytest.raises(FileNotFoundError, match="'ViT-Z/9' is neither a file nor a known name. Known: ViT-B/32"):
        load_clip("ViT-Z/9")
