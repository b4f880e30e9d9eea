"""A record agrees with the same settings, data and weights, and with nothing else."""

import dataclasses

import pytest

from masqclip_d2.cli.run_stages import plan
from masqclip_d2.config import get_masqclip_cfg, load_config
from masqclip_d2.engine.stages.record import _agrees, _changed, _made_of
from masqclip_d2.files import save_text

DATA = {"world_version": 3, "spec": {"seed": 0}}


@pytest.fixture
def stage(tmp_path):
    """The training of MaskCLIP, whose teacher is there."""
    teacher, maskclip, _ = plan("shapes/maskclip", [], tmp_path)
    teacher.output.mkdir(parents=True)
    teacher.weights.write_text("teacher")
    return maskclip


def made_of(stage, *words, data=DATA):
    return _made_of(dataclasses.replace(stage, opts=(*stage.opts, *words)), data)


def test_what_cannot_change_numbers_makes_no_difference(stage):
    same = ["DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu", "SOLVER.CHECKPOINT_PERIOD", "7", "OUTPUT_DIR", "a"]
    assert made_of(stage) == made_of(stage, *same)


@pytest.mark.parametrize(
    "words", [["SOLVER.MAX_ITER", "7"], ["SEED", "1"], ["MODEL.MASQCLIP.CLIP.NAME", "masqclip://shapes_teacher"]]
)
def test_other_settings_do(stage, words):
    assert not _agrees({"made_of": made_of(stage)}, made_of(stage, *words))


def test_so_do_other_data_and_other_weights(stage):
    record = {"made_of": made_of(stage)}
    assert _agrees(record, made_of(stage)) and not _agrees({}, made_of(stage))
    assert not _agrees(record, made_of(stage, data={**DATA, "world_version": 4}))
    weights = plan("shapes/maskclip", [], stage.output.parents[1])[0].weights
    weights.write_text("another teacher")
    assert not _agrees(record, made_of(stage))
    weights.unlink()  # cannot be compared any more
    assert _agrees(record, made_of(stage))


def test_a_key_that_is_as_by_default_is_no_setting():
    defaults = get_masqclip_cfg()
    assert _changed(defaults, defaults) == {}
    cfg = load_config("shapes/maskclip", ["MODEL.MASQCLIP.RMA.LAYERS", "[3]"])
    assert _changed(cfg, defaults)["MODEL"]["MASQCLIP"]["RMA"] == {"LAYERS": [3]}


def test_files_are_written_whole(tmp_path):
    save_text(tmp_path / "new" / "a.txt", "one")
    save_text(tmp_path / "new" / "a.txt", "two")
    assert [(file.name, file.read_text()) for file in (tmp_path / "new").iterdir()] == [("a.txt", "two")]
