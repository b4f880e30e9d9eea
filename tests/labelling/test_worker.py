import json
import os

import pytest

from masqclip_d2.labelling.journal import TOO_MANY_DEATHS, Journal
from masqclip_d2.labelling.shards import JOURNALS, Shard, ShardSummary
from masqclip_d2.labelling.sources import ImageSource
from masqclip_d2.labelling.worker import Worker
from tests.labelling.helpers import Model, job, write_images


def run(shard, output, model=None, **options):
    worker = Worker(lambda: model or Model(), job(output, **options))
    return worker, worker({"shard": shard.to_json()})


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_shard_has_the_files_of_all_its_formats(tmp_path):
    shard, out, model = Shard(write_images(tmp_path / "in", 5)), tmp_path / "out", Model()
    _, row = run(shard, out, model, formats=("coco", "labels", "json"), batch_size=2)
    assert row == {"done": 5, "failed": 0, "error": "", "is_bug": False}
    assert model.batches == [[0, 1], [2, 3], [4]] and model.settings["confidence_threshold"] == 0.0
    files = [f"{index}{suffix}" for index in range(5) for suffix in (".json", "_labels.png")]
    assert contents(out) == sorted(f"{shard.name}/{name}" for name in [*files, "coco.json", "shard.json"])
    content = json.loads((out / shard.name / "coco.json").read_text())
    assert [one["file_name"] for one in content["images"]] == [f"{index}.png" for index in range(5)]
    listed = json.loads((out / shard.name / "3.json").read_text())
    assert listed["label_map"] == str(out / shard.name / "3_labels.png") and listed["image"] == shard.images[3].location


@pytest.mark.parametrize("formats", [("parquet",), ("json", "labels")])
def test_a_name_that_results_cannot_have_fails_alone(tmp_path, formats):
    if "parquet" in formats:
        pytest.importorskip("pyarrow")
    images = list(write_images(tmp_path / "in", 3))
    renamed = {1: b"\xff.png", 2: b"l" * 248 + b".png"}
    for index, name in renamed.items():
        path = os.fsencode(tmp_path / "in") + b"/" + name
        os.rename(images[index].location, path)
        images[index] = ImageSource(os.fsdecode(path), os.fsdecode(name))
    shard, out = Shard(tuple(images)), tmp_path / "out"
    _, row = run(shard, out, formats=formats)
    assert not row["error"]
    reasons = [one.reason for one in ShardSummary.load(out / shard.name).failed]
    assert "is no UTF-8 text" in reasons[0]
    assert (row["done"], len(reasons)) == ((2, 1) if "parquet" in formats else (1, 2))
    assert "parquet" in formats or "too long" in reasons[1]


def test_images_that_fail_are_named_and_the_others_are_done(tmp_path):
    images = [*write_images(tmp_path / "in", 4), ImageSource(str(tmp_path / "missing.png"), "missing.png")]
    (tmp_path / "in" / "1.png").write_text("text")

    class Strict(Model):
        def result(self, image, *arguments):
            if image[0, 0, 0] == 2:
                raise MemoryError("No memory is left.")
            return super().result(image, *arguments)

    shard, out, model = Shard(tuple(images)), tmp_path / "out", Strict()
    _, row = run(shard, out, model)
    assert (row["done"], row["failed"]) == (2, 3) and model.batches == [[0, 2, 3], [0], [2], [3]]
    summary = ShardSummary.load(out / shard.name)
    assert summary.done == [images[0].location, images[3].location]
    reasons = {one.location.rpartition("/")[2]: one.reason for one in summary.failed}
    assert "is text, no image" in reasons["1.png"] and reasons["2.png"] == "No memory is left."
    assert reasons["missing.png"].endswith("missing.png does not exist.")
    assert len(json.loads((out / shard.name / "coco.json").read_text())["images"]) == 2


def test_a_shard_is_written_once(tmp_path):
    shard, out, model = Shard(write_images(tmp_path / "in", 2)), tmp_path / "out", Model()
    worker, row = run(shard, out, model)
    assert worker({"shard": shard.to_json()}) == row and model.batches == [[0, 1]]


def test_an_image_that_kills_workers_is_left_out(tmp_path):
    shard, out, model = Shard(write_images(tmp_path / "in", 4)), tmp_path / "out", Model()
    path = out / JOURNALS / f"{shard.name}.jsonl"
    Journal(path).take([0, 1, 2, 3])
    Journal(path).take([2])
    _, row = run(shard, out, model)
    assert (row["done"], row["failed"]) == (3, 1) and model.batches == [[0], [1], [3]]
    [failure] = ShardSummary.load(out / shard.name).failed
    assert failure.location.endswith("2.png") and failure.reason == TOO_MANY_DEATHS and not path.exists()


@pytest.mark.parametrize(
    ("error", "is_bug", "text"),
    [
        (OSError(28, "No space left on device", "x"), False, "x: No space left on device."),
        (TypeError("odd"), True, "odd"),
    ],
)
def test_errors_of_the_disk_and_bugs_leave_nothing_behind(tmp_path, monkeypatch, error, is_bug, text):
    def full(*_):
        raise error

    monkeypatch.setattr("masqclip_d2.labelling.worker.write_files", full)
    _, row = run(Shard(write_images(tmp_path / "in", 2)), tmp_path / "out")
    assert row["is_bug"] == is_bug and text in row["error"] and ("Traceback" in row["error"]) == is_bug
    assert not list((tmp_path / "out").glob("shard-*"))
