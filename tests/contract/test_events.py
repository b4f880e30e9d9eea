"""EventStorage and the writers."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
    has_event_storage,
)


def test_context_is_a_stack():
    assert not has_event_storage()
    with pytest.raises(AssertionError):
        get_event_storage()
    with EventStorage() as outer:
        with EventStorage(5) as inner:
            assert get_event_storage() is inner and inner.iter == 5
        assert get_event_storage() is outer and has_event_storage()
    assert not has_event_storage()


def test_scalars_keep_their_iteration_and_history():
    storage = EventStorage(3)
    storage.put_scalar("loss", torch.tensor(2.0))
    storage.step()
    storage.put_scalars(loss=4.0, accuracy=0.5)
    storage.put_scalar("late", 1.0, cur_iter=9)
    assert storage.iter == 4
    assert storage.latest() == {"loss": (4.0, 4), "accuracy": (0.5, 4), "late": (1.0, 9)}
    assert [value for value, _ in storage.history("loss").values()] == [2.0, 4.0]
    assert set(storage.histories()) == {"loss", "accuracy", "late"}
    with pytest.raises(KeyError, match="unknown"):
        storage.history("unknown")


def test_smoothing_is_a_median_unless_the_hint_forbids_it():
    storage = EventStorage()
    for value in (1.0, 2.0, 30.0):
        storage.put_scalar("smooth", value)
        storage.put_scalar("raw", value, smoothing_hint=False)
        storage.step()
    assert storage.latest_with_smoothing_hint(20) == {"smooth": (2.0, 2), "raw": (30.0, 2)}
    assert storage.latest_with_smoothing_hint(2)["smooth"] == (16.0, 2)
    with pytest.raises(AssertionError):
        storage.put_scalar("raw", 1.0, smoothing_hint=True)


def test_name_scope():
    storage = EventStorage()
    with storage.name_scope("teacher"):
        storage.put_scalar("loss", 1.0)
    storage.put_scalar("loss", 2.0)
    assert storage.latest() == {"teacher/loss": (1.0, 0), "loss": (2.0, 0)}


def test_json_writer_appends_a_line_per_iteration_with_something_new(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"before": 1}\n')
    writer = JSONWriter(str(path))
    with EventStorage() as storage:
        storage.put_scalar("b", 1.0)
        storage.step()
        storage.put_scalar("a", 2.0, smoothing_hint=False)
        storage.put_scalar("c", float("nan"), smoothing_hint=False)
        writer.write()
        writer.write()  # nothing new
        storage.step()
        storage.put_scalar("a", 3.0, smoothing_hint=False)
        writer.write()
    writer.close()
    lines = path.read_text().splitlines()
    assert lines[0] == '{"before": 1}'
    assert lines[1:] == [
        '{"b": 1.0, "iteration": 0}',
        '{"a": 2.0, "c": NaN, "iteration": 1}',
        '{"a": 3.0, "iteration": 2}',
    ]
    assert json.loads(lines[3])["iteration"] == 2


def test_tensorboard_writer_makes_an_event_file(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = TensorboardXWriter(str(tmp_path))
    with EventStorage() as storage:
        for value in (1.0, 2.0):
            storage.put_scalar("group/loss", value, smoothing_hint=False)
            storage.put_image("picture", torch.zeros(3, 4, 4))
            writer.write()
            storage.step()
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("group/loss")] == [(0, 1.0), (1, 2.0)]
    assert len(events.Images("picture")) == 2


def test_metric_printer_logs_losses_and_the_remaining_time(caplog):
    logger = logging.getLogger("detectron2.utils.events")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger=logger.name), EventStorage(4) as storage:
            storage.put_scalars(total_loss=1.25, data_time=0.1, time=2.0)
            storage.put_scalar("lr", 0.5, smoothing_hint=False)
            CommonMetricPrinter(max_iter=10).write()
    finally:
        logger.removeHandler(caplog.handler)
    line = caplog.records[-1].getMessage()
    for part in ("iter: 4", "total_loss: 1.25", "eta: 0:00:10", "lr: 0.5"):
        assert part in line
    assert storage.latest()["eta_seconds"] == (10.0, 4)
