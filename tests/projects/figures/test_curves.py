"""Metrics of interrupted and resumed runs are read correctly; each stage has its diagram."""

import json

import pytest
from PIL import Image

from projects.figures import draw_training_curves
from projects.figures.curves import _averaged, read_metrics


def write(path, entries, suffix=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + suffix)
    return path


def test_the_later_of_two_entries_is_used_and_an_incomplete_line_skipped(tmp_path):
    entries = [{"iteration": 19, "total_loss": 3.0}, {"iteration": 39, "total_loss": 2.0}, {"iteration": 39, "lr": 1}]
    entries += [{"iteration": 19, "total_loss": 5.0}]
    path = write(tmp_path / "metrics.json", entries, '{"iteration": 59, "tot')
    assert read_metrics(path, "total_loss") == ([19, 39], [5.0, 2.0])
    with pytest.raises(ValueError, match="no 'pseudo_masks_per_image'"):
        read_metrics(path, "pseudo_masks_per_image")


def test_the_average_is_over_a_window_cut_at_the_ends():
    assert _averaged([1.0, 2.0, 3.0, 4.0, 10.0, 6.0]).tolist() == [2.0, 2.5, 4.0, 5.0, 5.75, 20 / 3]


def test_one_diagram_per_stage(tmp_path):
    runs = {
        name: write(tmp_path / name / "metrics.json", [{"iteration": i, "total_loss": 9.0 - i} for i in range(5)])
        for name in ("a", "b", "c")
    }
    draw_training_curves({"one": {"a": runs["a"], "b": runs["b"]}}, tmp_path / "one.png")
    draw_training_curves({name: {name: file} for name, file in runs.items()}, tmp_path / "three.png")
    one, three = (Image.open(tmp_path / name).size for name in ("one.png", "three.png"))
    assert one[0] == three[0] == 1600 and three[1] == 2 * one[1]
