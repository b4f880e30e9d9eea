"""Every format is read without executing code; other files are refused with an error that names the file."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from masqclip_d2.checkpoint import local_weights_path, read_checkpoint
from masqclip_d2.hub import place_of
from tests.checkpoint.test_numpy_pickle import endless_key


@pytest.fixture
def tensors():
    return {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}


def _assert_same(read, expected):
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(read[name], tensor)


def test_pth_with_model_and_more(tmp_path, tensors):
    torch.save({"model": tensors, "iteration": 7}, tmp_path / "c.pth")
    checkpoint = read_checkpoint(tmp_path / "c.pth")
    _assert_same(checkpoint["model"], tensors)
    assert checkpoint["iteration"] == 7


@pytest.mark.parametrize("entry", ["model", "state_dict", "model_state_dict"])
def test_the_state_dict_is_found_under_its_usual_names(tmp_path, tensors, entry):
    torch.save({"epoch": 3, entry: tensors, "hyper_parameters": {"lr": 0.1}}, tmp_path / "c.ckpt")
    checkpoint = read_checkpoint(tmp_path / "c.ckpt")
    _assert_same(checkpoint.pop("model"), tensors)
    assert checkpoint == {"epoch": 3, "hyper_parameters": {"lr": 0.1}}


def test_a_tensor_may_be_called_model(tmp_path):
    torch.save({"model": torch.ones(2), "state_dict": torch.zeros(1)}, tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth")["model"].keys() == {"model", "state_dict"}


def test_bare_state_dict_becomes_the_model(tmp_path, tensors):
    torch.save(tensors, tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth").keys() == {"model"}


def test_safetensors(tmp_path, tensors):
    save_file(tensors, tmp_path / "c.safetensors")
    _assert_same(read_checkpoint(tmp_path / "c.safetensors")["model"], tensors)


def test_detectron2_pickle_of_numpy_arrays(tmp_path, tensors):
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    (tmp_path / "c.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "test", "matching_heuristics": True}))
    _assert_same(read_checkpoint(tmp_path / "c.pkl")["model"], tensors)


class _Evil:
    def __reduce__(self):
        return (print, ("this ran",))


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, capsys, suffix):
    path = tmp_path / f"evil{suffix}"
    path.write_bytes(pickle.dumps({"model": {"a": np.zeros(2)}, "x": _Evil()}, protocol=2))  # as torch.save
    with pytest.raises(ValueError, match="evil") as caught:
        read_checkpoint(path)
    assert "weights_only" not in str(caught.value)  # PyTorch's advice to run the file's code
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pkl"])
def test_truncated_file(tmp_path, tensors, suffix):
    path = tmp_path / f"c{suffix}"
    if suffix == ".pth":
        torch.save({"model": tensors}, path)
    elif suffix == ".safetensors":
        save_file(tensors, path)
    else:
        path.write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in tensors.items()}))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"c{suffix}.*(truncated|damaged)"):
        read_checkpoint(path)


def test_empty_file(tmp_path):
    (tmp_path / "c.pth").touch()
    with pytest.raises(ValueError, match="empty"):
        read_checkpoint(tmp_path / "c.pth")


def test_file_without_tensors(tmp_path):
    torch.save({"iteration": 3}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match="no tensors"):
        read_checkpoint(tmp_path / "c.pth")


def test_torchscript_archive_names_the_correct_key(tmp_path):
    path = tmp_path / "jit.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(ValueError, match="MODEL.MASQCLIP.CLIP.NAME"):
        read_checkpoint(path)


def test_missing_weights_name_the_fix(tmp_path):
    with pytest.raises(FileNotFoundError, match="MODEL.WEIGHTS"):
        local_weights_path(str(tmp_path / "none.pth"))


def test_unknown_shipped_name():
    with pytest.raises(FileNotFoundError, match="no shipped weights 'nothing'"):
        local_weights_path("masqclip://nothing")


def test_weights_of_a_server_are_stored_once(file_server, tmp_path):
    torch.save({"model": {"a": torch.ones(2)}}, tmp_path / "c.pth")
    content = (tmp_path / "c.pth").read_bytes()
    url = file_server.add("/zoo/c.pth", content)
    file_server.add("/o/r/resolve/v1/c.pth", content)
    for source in (url, "hf://o/r/c.pth@v1"):
        for _ in range(2):
            assert read_checkpoint(local_weights_path(source))["model"]["a"].tolist() == [1, 1]
    assert [path for path, _ in file_server.requests] == ["/zoo/c.pth", "/o/r/resolve/v1/c.pth"]


def test_weights_that_no_server_has(file_server):
    with pytest.raises(FileNotFoundError, match=r"none.pth is not on this disk .*HTTP 404"):
        local_weights_path(f"{file_server.url}/none.pth")


def test_model_zoo(own_cache):
    path = place_of("detectron2://a/m.pkl").path
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({"model": {"a": np.ones(2)}}))
    assert local_weights_path("detectron2://a/m.pkl") == path


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.tensor([1.0, torch.nan]), "NaN or infinite; training may have diverged"),
        (torch.tensor([-torch.inf]), "NaN or infinite"),
        (torch.zeros(2, dtype=torch.complex64), "has dtype complex64"),
        (torch.tensor([torch.nan]).to(torch.float8_e4m3fn), "NaN or infinite"),
        (torch.zeros(2, dtype=torch.uint32), "has dtype uint32"),
        (torch.eye(2).to_sparse(), "is sparse, nested, quantized or without values"),
        (torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "is sparse, nested"),
        (torch.zeros(1).expand(10**12), r"is larger than the file: its shape \(1000000000000,\)"),
    ],
)
def test_tensors_that_no_model_can_use(tmp_path, tensor, reason):
    torch.save({"model": {"good": torch.ones(2), "layer.weight": tensor}}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match=rf"c.pth cannot be used: the tensor layer.weight .*{reason}"):
        read_checkpoint(tmp_path / "c.pth")


def test_trained_parameters_of_masks_must_be_finite(tmp_path):
    torch.save({"model": {"mask_attentions.0.weight": torch.tensor([torch.nan])}}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match="the tensor mask_attentions.0.weight has values that are NaN"):
        read_checkpoint(tmp_path / "c.pth")


def test_a_tensor_under_many_names_is_read_once(tmp_path):
    ones = torch.ones(1000)
    torch.save({"model": {f"{number}": ones for number in range(50)}}, tmp_path / "c.pth")
    assert len(read_checkpoint(tmp_path / "c.pth")["model"]) == 50


def test_a_safetensors_file_of_several_parts(tmp_path, tensors, monkeypatch):
    monkeypatch.setattr("masqclip_d2.checkpoint.reading._MAPPED_BYTES", 20)
    save_file(tensors, tmp_path / "c.safetensors")
    _assert_same(read_checkpoint(tmp_path / "c.safetensors")["model"], tensors)


@pytest.mark.parametrize("in_archive", [True, False])
def test_tuples_that_contain_each_other_are_refused(tmp_path, in_archive):
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "good.pth")
    if in_archive:
        with (
            zipfile.ZipFile(tmp_path / "good.pth") as good,
            zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_STORED) as bad,
        ):
            for name in good.namelist():
                bad.writestr(name, endless_key() if name.endswith("data.pkl") else good.read(name))
    else:
        (tmp_path / "c.pth").write_bytes(endless_key())
    with pytest.raises(ValueError, match="c.pth .* tuples that contain each other too often"):
        read_checkpoint(tmp_path / "c.pth")


def test_attention_masks_and_huge_numbers_are_read(tmp_path, tensors):
    tensors |= {"attn_mask": torch.tensor([0.0, -torch.inf]), "huge": torch.full((3,), 3e38)}
    torch.save({"model": tensors}, tmp_path / "c.pth")
    _assert_same(read_checkpoint(tmp_path / "c.pth")["model"], tensors)


def test_an_archive_that_grows_when_it_is_unpacked(tmp_path, tensors):
    torch.save({"model": {"a": torch.zeros(1_000_000)}}, tmp_path / "stored.pth")
    path = tmp_path / "compressed.pth"
    with zipfile.ZipFile(tmp_path / "stored.pth") as stored, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(ValueError, match=r"compressed.pth has \d+ bytes, but 400\d+ when it is unpacked"):
        read_checkpoint(path)
