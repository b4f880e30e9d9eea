"""Checkpoints are written atomically, and training resumes from the last one that can be read."""

import errno
import os
import struct

import pytest
import torch
from torch import nn

from masqclip_d2.checkpoint import StrictCheckpointer
from masqclip_d2.checkpoint.checkpointer import remove_unfinished


class Counter:
    """A checkpointable."""

    def __init__(self, number=0):
        self.number = number

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.number = state["number"]


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints, with the numbers 1 and 2."""
    model, counter = nn.Linear(1, 1), Counter()
    checkpointer = StrictCheckpointer(model, str(tmp_path), counter=counter)
    for counter.number in (1, 2):
        nn.init.constant_(model.weight, counter.number)
        checkpointer.save(f"model_000000{counter.number}", iteration=counter.number)
        os.utime(tmp_path / f"model_000000{counter.number}.pth", (counter.number, counter.number))
    return tmp_path


def resume(folder, **options):
    model, counter = nn.Linear(1, 1), Counter()
    checkpointer = StrictCheckpointer(model, str(folder), counter=counter)
    rest = checkpointer.resume_or_load("", **options)
    return model.weight.item(), counter.number, rest.get("iteration")


def test_the_last_checkpoint_is_resumed(folder):
    assert resume(folder) == (2.0, 2, 2)
    assert (folder / "last_checkpoint").read_text() == "model_0000002.pth"
    assert sorted(path.name for path in folder.iterdir()) == [
        "last_checkpoint", "model_0000001.pth", "model_0000002.pth"
    ]  # fmt: skip


def change_last(folder, change):
    path = folder / "model_0000002.pth"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def test_what_a_checkpoint_lacks_is_said(folder, caplog):
    change_last(folder, lambda content: (content.pop("counter"), content.pop("iteration")))
    assert resume(folder) == (2.0, 0, None)
    assert "model_0000002.pth has no counter, iteration, which start anew" in caplog.text


def test_states_of_another_training_are_one_sentence(folder):
    change_last(folder, lambda content: content.update(counter=None))
    with pytest.raises(ValueError, match="model_0000002.pth does not fit this training: its states of counter cannot"):
        resume(folder)


@pytest.mark.parametrize("iteration", ["x", -5, None])
def test_an_odd_iteration_is_passed_over(folder, iteration, caplog):
    change_last(folder, lambda content: content.update(iteration=iteration))
    assert resume(folder) == (1.0, 1, 1) and "has the iteration" in caplog.text
    assert StrictCheckpointer(nn.Linear(1, 1)).load(str(folder / "model_0000002.pth"))["iteration"] == iteration


def test_without_resume_nothing_of_the_folder_is_loaded(folder):
    assert resume(folder, resume=False)[1:] == (0, None)


@pytest.mark.parametrize("damage", ["gone", "truncated", "empty", "no checkpoint", "one bit", "noted wrongly"])
def test_a_last_checkpoint_that_cannot_be_read_is_passed_over(folder, caplog, damage):
    last = folder / "model_0000002.pth"
    if damage == "gone":
        last.unlink()
    elif damage == "noted wrongly":
        for note in (b"\xff\xfe nothing\n", b"\x1b[2Jmodel_0000001.pth"):
            (folder / "last_checkpoint").write_bytes(note)
            assert resume(folder)[1] == 2
        assert "\x1b" not in caplog.text
        return
    elif damage == "one bit":
        content = bytearray(last.read_bytes())
        content[content.index(struct.pack("<f", 2.0))] ^= 1  # of the weight
        last.write_bytes(content)
    else:
        last.write_bytes({"truncated": last.read_bytes()[:-100], "empty": b"", "no checkpoint": b"text"}[damage])
    assert resume(folder) == (1.0, 1, 1)
    assert "Cannot resume from model_0000002.pth: " in caplog.text


def test_the_note_may_be_missing(folder):
    (folder / "last_checkpoint").unlink()
    assert resume(folder) == (2.0, 2, 2)


def test_no_readable_checkpoint(folder):
    for path in folder.glob("*.pth"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="None of the checkpoints in .* can be read"):
        resume(folder)


def test_another_architecture_is_no_reason_to_go_back(folder):
    checkpointer = StrictCheckpointer(nn.Linear(3, 3), str(folder))
    with pytest.raises(ValueError, match="weight"):
        checkpointer.resume_or_load("")


def test_an_interrupted_save_leaves_the_checkpoint_before_it(folder, monkeypatch):
    def interrupted(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        StrictCheckpointer(nn.Linear(1, 1), str(folder), counter=Counter(5)).save("model_0000002")
    monkeypatch.undo()
    assert resume(folder) == (2.0, 2, 2)


def test_a_file_that_cannot_grow_is_named(folder, monkeypatch):
    def full(*_):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 971136 vs 971024")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left on device: .*model_final.pth"):
        StrictCheckpointer(nn.Linear(1, 1), str(folder), counter=Counter(5)).save("model_final")
    assert not list(folder.glob("model_final*")) and resume(folder) == (2.0, 2, 2)


def test_what_a_killed_training_has_not_finished_is_removed(folder):
    kept = ["last_checkpoint", "model_0000001.pth", "model_0000002.pth", "notes.12.tmp"]
    for name in ("notes.12.tmp", "model_final.pth.12.tmp", "model_0000003.pth.7.tmp", "last_checkpoint.12.tmp"):
        (folder / name).touch()
    remove_unfinished(folder)
    remove_unfinished("")
    assert sorted(path.name for path in folder.iterdir()) == kept


def test_other_processes_than_the_first_write_nothing(tmp_path):
    StrictCheckpointer(nn.Linear(1, 1), str(tmp_path), save_to_disk=False).save("model_0000001")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model_best.pth", "model_pretrained.pth"])
def test_other_weights_of_the_folder_are_not_resumed(folder, name):
    torch.save({"model": {"weight": torch.tensor([[9.0]]), "bias": torch.zeros(1)}, "iteration": 9}, folder / name)
    (folder / "model_0000002.pth").write_bytes(b"")
    assert resume(folder) == (1.0, 1, 1)
    for file in ("last_checkpoint", "model_0000001.pth", "model_0000002.pth"):
        (folder / file).unlink()
    assert not StrictCheckpointer(nn.Linear(1, 1), str(folder)).has_checkpoint()


def test_links_without_a_file_and_folders_are_passed_over(folder):
    (folder / "model_0000003.pth").symlink_to(folder / "gone.pth")
    (folder / "model_0000004.pth").mkdir()
    (folder / "last_checkpoint").write_text("")
    assert resume(folder) == (2.0, 2, 2)


def test_only_files_of_the_folder_are_resumed(folder):
    other = folder / "other"
    StrictCheckpointer(nn.Linear(1, 1), str(other)).save("elsewhere")
    for named in (other / "elsewhere.pth", "other/elsewhere.pth", "../model_0000001.pth"):
        (folder / "last_checkpoint").write_text(str(named))
        assert resume(folder)[1] == (1 if "model" in str(named) else 2)


@pytest.mark.parametrize("starts", [True, False], ids=["training", "evaluation"])
def test_a_training_that_replaces_another_is_a_warning(folder, caplog, starts):
    StrictCheckpointer(nn.Linear(1, 1), str(folder), starts_training=starts).resume_or_load("", resume=False)
    message = "has checkpoints of another training, the last one model_0000002.pth. This training starts anew and"
    assert (message in caplog.text) == starts
