"""DetectionCheckpointer: file formats, matching of keys, refused files."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from masqclip_d2 import detectron2_backend

BUNDLED_ONLY = pytest.mark.skipif(
    detectron2_backend().kind == "real", reason="the real library unpickles .pkl files with full pickle"
)


class Wrapped(nn.Module):
    """A linear layer under a longer name, and a normalization buffer that is in no checkpoint."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 3))
        self.register_buffer("pixel_mean", torch.zeros(3))


@pytest.fixture
def log(caplog):
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield caplog
    for logger in loggers:
        logger.removeHandler(caplog.handler)


def test_save_writes_model_checkpointables_extra_and_last_checkpoint(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer).save("model_0000009", iteration=9)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000009.pth"
    content = torch.load(tmp_path / "model_0000009.pth", weights_only=True)
    assert set(content) == {"model", "optimizer", "iteration"}
    assert set(content["model"]) == {"weight", "bias"} and content["iteration"] == 9


def test_load_returns_the_rest_and_fills_the_checkpointables(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer).save("a", iteration=3)
    other = nn.Linear(2, 2)
    other_optimizer = torch.optim.SGD(other.parameters(), lr=0.7)
    checkpointer = DetectionCheckpointer(other, optimizer=other_optimizer)
    assert checkpointer.load(str(tmp_path / "a.pth")) == {"iteration": 3}
    assert torch.equal(other.weight, model.weight)
    assert other_optimizer.param_groups[0]["lr"] == 0.1
    assert checkpointer.load("") == {}


def test_resume_or_load(tmp_path):
    saved, given = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save({"model": given.state_dict(), "iteration": 99}, tmp_path / "given.pth")
    model = nn.Linear(2, 2)
    checkpointer = DetectionCheckpointer(model, str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    checkpointer.resume_or_load(str(tmp_path / "given.pth"), resume=True)  # there is no checkpoint yet
    assert torch.equal(model.weight, given.weight)
    DetectionCheckpointer(saved, str(tmp_path / "out")).save("model_0000004", iteration=4)
    assert checkpointer.has_checkpoint()
    assert checkpointer.resume_or_load(str(tmp_path / "given.pth"), resume=True) == {"iteration": 4}
    assert torch.equal(model.weight, saved.weight)
    checkpointer.resume_or_load(str(tmp_path / "given.pth"), resume=False)
    assert torch.equal(model.weight, given.weight)


def test_bare_state_dicts_and_the_module_prefix(tmp_path):
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save({f"module.{key}": value for key, value in source.state_dict().items()}, tmp_path / "bare.pth")
    DetectionCheckpointer(target).load(str(tmp_path / "bare.pth"))
    assert torch.equal(target.weight, source.weight)


def test_a_wrong_shape_is_skipped_with_a_warning(tmp_path, log):
    torch.save({"model": {"weight": torch.ones(5, 5), "bias": torch.ones(2)}}, tmp_path / "a.pth")
    model = nn.Linear(2, 2)
    DetectionCheckpointer(model).load(str(tmp_path / "a.pth"))
    assert model.bias.tolist() == [1.0, 1.0]
    assert any("weight" in record.getMessage() and record.levelname == "WARNING" for record in log.records)


def test_missing_pixel_mean_is_not_reported(tmp_path, log):
    state = {key: value for key, value in Wrapped().state_dict().items() if key.startswith("backbone")}
    torch.save({"model": state}, tmp_path / "a.pth")
    DetectionCheckpointer(Wrapped()).load(str(tmp_path / "a.pth"))
    assert [record for record in log.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize("where", ["path", "file"])
def test_matching_by_suffix(tmp_path, where):
    content = {"model": {"0.weight": torch.full((3, 2), 7.0), "0.bias": torch.full((3,), 8.0)}}
    if where == "file":
        content["matching_heuristics"] = True
    torch.save(content, tmp_path / "part.pth")
    model = Wrapped()
    DetectionCheckpointer(model).load(
        str(tmp_path / "part.pth") + ("?matching_heuristics=True" if where == "path" else "")
    )
    assert (model.backbone[0].weight == 7).all() and (model.backbone[0].bias == 8).all()


def test_matching_takes_the_longest_suffix_and_refuses_ambiguity(tmp_path):
    model = nn.ModuleDict({"a": nn.ModuleDict({"x": nn.Linear(1, 1, bias=False)})})
    content = {"x.weight": torch.full((1, 1), 2.0), "weight": torch.full((1, 1), 1.0)}
    torch.save(content, tmp_path / "a.pth")
    DetectionCheckpointer(model).load(str(tmp_path / "a.pth") + "?matching_heuristics=True")
    assert model["a"]["x"].weight.item() == 2.0
    twins = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False), "b": nn.Linear(1, 1, bias=False)})
    torch.save({"weight": torch.ones(1, 1)}, tmp_path / "b.pth")
    with pytest.raises(ValueError):
        DetectionCheckpointer(twins).load(str(tmp_path / "b.pth") + "?matching_heuristics=True")


def test_unknown_query_and_missing_file(tmp_path):
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1))
    torch.save({"model": {}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="color"):
        checkpointer.load(str(tmp_path / "a.pth") + "?color=True")
    with pytest.raises((AssertionError, FileNotFoundError)):
        checkpointer.load(str(tmp_path / "none.pth"))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickled_arrays(tmp_path, protocol):
    content = {
        "model": {"0.weight": np.full((3, 2), 7, np.float32), "0.bias": np.arange(3, dtype=np.float32)},
        "__author__": "test",
        "matching_heuristics": True,
        "version": np.float64(1.5),
    }
    with open(tmp_path / "a.pkl", "wb") as f:
        pickle.dump(content, f, protocol=protocol)
    model = Wrapped()
    DetectionCheckpointer(model).load(str(tmp_path / "a.pkl"))
    assert (model.backbone[0].weight == 7).all() and model.backbone[0].bias.tolist() == [0, 1, 2]


def test_objects_in_a_pth_are_refused(tmp_path):
    torch.save({"model": {}, "extra": nn.Linear(1, 1)}, tmp_path / "a.pth")
    with pytest.raises(pickle.UnpicklingError):
        DetectionCheckpointer(nn.Linear(1, 1)).load(str(tmp_path / "a.pth"))


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@BUNDLED_ONLY
def test_code_in_a_pickle_does_not_run(tmp_path):
    with open(tmp_path / "a.pkl", "wb") as f:
        pickle.dump({"model": {"weight": _Touch(str(tmp_path / "ran"))}, "__author__": "test"}, f)
    with pytest.raises(pickle.UnpicklingError, match="open"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(str(tmp_path / "a.pkl"))
    assert not (tmp_path / "ran").exists()


@BUNDLED_ONLY
def test_caffe2_pickles_are_refused(tmp_path):
    with open(tmp_path / "a.pkl", "wb") as f:
        pickle.dump({"blobs": {"conv1_w": np.zeros(1)}}, f)
    with pytest.raises(ValueError, match="Caffe2"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(str(tmp_path / "a.pkl"))
