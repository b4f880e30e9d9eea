"""A record of a stage agrees only with the same settings, data and weights."""

import dataclasses

import pytest

from masqclip_d2.config import get_masqclip_cfg, load_config
from masqclip_d2.engine.stages.plan import plan_stages
from masqclip_d2.engine.stages.record import _agrees, _changed, _inputs

DATA = {"world_version": 3, "spec": {"seed": 0}}


@pytest.fixture
def stage(tmp_path):
    """The training of MaskCLIP, whose teacher weights exist."""
    teacher, maskclip, _ = plan_stages("shapes/maskclip", [], tmp_path)
    teacher.output.mkdir(parents=True)
    teacher.weights.write_text("teacher")
    return maskclip


def inputs(stage, *opts, data=DATA):
    return _inputs(dataclasses.replace(stage, opts=(*stage.opts, *opts)), data)


def test_settings_that_cannot_change_metrics_do_not_count(stage):
    same = ["DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu", "SOLVER.CHECKPOINT_PERIOD", "7", "OUTPUT_DIR", "a"]
    assert inputs(stage) == inputs(stage, *same)


@pytest.mark.parametrize(
    "opts", [["SOLVER.MAX_ITER", "7"], ["SEED", "1"], ["MODEL.MASQCLIP.CLIP.NAME", "masqclip://shapes_teacher"]]
)
def test_other_settings_count(stage, opts):
    assert not _agrees({"made_of": inputs(stage)}, inputs(stage, *opts))


def test_other_data_and_other_weights_count(stage):
    record = {"made_of": inputs(stage)}
    assert _agrees(record, inputs(stage)) and not _agrees({}, inputs(stage))
    assert not _agrees(record, inputs(stage, data={**DATA, "world_version": 4}))
    weights = plan_stages("shapes/maskclip", [], stage.output.parents[1])[0].weights
    weights.write_text("another teacher")
    assert not _agrees(record, inputs(stage))
    weights.unlink()  # no longer comparable
    assert _agrees(record, inputs(stage))


def test_a_key_with_its_default_value_does_not_count():
    defaults = get_masqclip_cfg()
    assert _changed(defaults, defaults) == {}
    cfg = load_config("shapes/maskclip", ["MODEL.MASQCLIP.RMA.LAYERS", "[3]"])
    assert _changed(cfg, defaults)["MODEL"]["MASQCLIP"]["RMA"] == {"LAYERS": [3]}
