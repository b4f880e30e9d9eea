"""Runs: resumed, with failures; on Ray with a killed worker."""

import importlib.util
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from masqclip_d2 import Predictor
from masqclip_d2.batch.inputs import SAMPLES
from masqclip_d2.engine.output_lock import output_lock
from masqclip_d2.labelling import run
from masqclip_d2.labelling.run import FAILED, MANIFEST, label_images
from masqclip_d2.labelling.shards import Shard, finished_shards
from masqclip_d2.labelling.sources import find_sources
from masqclip_d2.labelling.worker import Job, Worker
from masqclip_d2.vocabulary import Vocabulary
from tests.labelling.helpers import Model, job, write_images

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None,
    reason="needs ray and pyarrow (extra scale)",
)
SETTINGS = {"task": "panoptic"}


@pytest.fixture
def in_this_process(monkeypatch):
    """Shards are labelled here, without Ray; a test may replace the worker's call."""
    state = SimpleNamespace(shards=[], before=lambda number: None, at_start=lambda: None)

    def run_shards(ray, load_predictor, job, shards, num_workers):
        worker = Worker(load_predictor, job)
        for number, shard in enumerate(shards):
            state.before(number)
            state.shards.append([Path(image.location).name for image in shard.images])
            worker.label(shard)

    @contextmanager
    def start(num_workers):
        state.at_start()
        yield SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})

    monkeypatch.setattr(run, "_ray", start)
    monkeypatch.setattr(run, "_run_shards", run_shards)
    return state


def label(tmp_path, **options):
    images = find_sources([str(tmp_path / "in")], True, tmp_path / "out")
    label_images(Model, job(tmp_path / "out"), images, options.pop("settings", SETTINGS), shard_size=2, **options)


def test_what_workers_of_a_killed_run_finish_meanwhile_is_not_labelled_again(tmp_path, in_this_process):
    images = write_images(tmp_path / "in", 5)
    late = Worker(Model, job(tmp_path / "out"))
    in_this_process.at_start = lambda: late.label(Shard(images[:3]))
    label(tmp_path)
    assert in_this_process.shards == [["3.png", "4.png"]]


def test_an_interrupted_run_continues_with_what_is_missing(tmp_path, capsys, in_this_process):
    def interrupt(number):
        if number == 2:
            (tmp_path / "out" / "shard-x.1.tmp").mkdir()
            raise KeyboardInterrupt

    write_images(tmp_path / "in", 7)
    in_this_process.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path)
    in_this_process.before = lambda number: None
    label(tmp_path)
    assert in_this_process.shards == [["0.png", "1.png"], ["2.png", "3.png"], ["4.png", "5.png"], ["6.png"]]
    assert "7 images, 4 have results already; 2 shards to do." in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*.tmp"))
    write_images(tmp_path / "in", 9)  # further images
    label(tmp_path)
    assert in_this_process.shards[4:] == [["7.png", "8.png"]]
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert (manifest["images"], manifest["failed"], len(manifest["shards"])) == (9, 0, 5)


def test_failed_images_are_listed_and_tried_again(tmp_path, in_this_process):
    write_images(tmp_path / "in", 3)
    (tmp_path / "in" / "1.png").write_text("text")
    with pytest.raises(ValueError, match=r"1 of 3 images failed, such as \S+1\.png \(.*\); all are listed in"):
        label(tmp_path)
    [failure] = [json.loads(line) for line in (tmp_path / "out" / FAILED).read_text().splitlines()]
    assert failure["location"].endswith("1.png") and "is text, no image" in failure["reason"]
    write_images(tmp_path / "in", 3)
    label(tmp_path)
    assert in_this_process.shards == [["0.png", "1.png"], ["2.png"], ["1.png"]]
    assert (tmp_path / "out" / FAILED).read_text() == ""
    done = [location for shard in finished_shards(tmp_path / "out") for location in shard.done]
    assert len(done) == len(set(done)) == 3


def test_results_of_other_settings_and_two_runs_are_not_mixed(tmp_path, in_this_process):
    write_images(tmp_path / "in", 1)
    label(tmp_path)
    with pytest.raises(
        ValueError, match=r"made with other settings \(task\)\. Pass the same settings, or another --out"
    ):
        label(tmp_path, settings={"task": "instance"})
    code = "import sys\nfrom masqclip_d2.engine.output_lock import output_lock\nwith output_lock(sys.argv[1]): input()"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "out"], stdin=subprocess.PIPE, text=True) as other:
        lock = tmp_path / "out" / "run.lock"
        while lock.read_text() != f"{other.pid}\n":
            pass
        with pytest.raises(
            ValueError, match=rf"--output \S+ is in use by another labelling run \(process {other.pid}\)"
        ):
            label(tmp_path)
        other.communicate("\n")
    with output_lock(tmp_path / "out"):
        pass


KILL_ONCE = """
import os, signal
from masqclip_d2 import Predictor

original = Predictor.batch


def batch(self, images, *arguments, **settings):
    if not os.path.exists("killed") and len(os.listdir("out")) > 3:
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, images, *arguments, **settings)


Predictor.batch = batch
"""


@needs_ray
@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_repeats_nothing(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "in").mkdir()
    for index in range(10):
        with Image.open(SAMPLES / f"shapes_{index % 4 + 1}.png") as sample:
            sample.crop((20 * index, 0, 20 * index + 96, 128)).save(tmp_path / "in" / f"{index}.png")
    (tmp_path / "in" / "bad.jpg").write_text("text")
    (tmp_path / "kill_once.py").write_text(KILL_ONCE)
    words = "label --input in --vocab cross,star --stuff grass,water --output out --shard-size 3 --batch-size 1"
    command = [sys.executable, "-m", "masqclip_d2", *words.split(), "--workers", "2", "--import", "kill_once.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 1 and "1 of 11 images failed" in found.stderr and (tmp_path / "killed").exists()

    images = find_sources([str(tmp_path / "in")], False, tmp_path / "alone")
    vocabulary = Vocabulary.from_names("cross,star", "grass,water")
    worker = Worker(Predictor, Job(tmp_path / "alone", vocabulary, ("parquet",), batch_size=1))
    worker.label(Shard(tuple(images)))

    def rows(output):
        tables = [parquet.read_table(path).to_pylist() for path in sorted(output.glob("*/segments.parquet"))]
        return sorted((row for table in tables for row in table), key=lambda row: row["image"])

    several, alone = rows(tmp_path / "out"), rows(tmp_path / "alone")
    assert [row["image"] for row in several] == [row["image"] for row in alone] and len(alone) == 10
    assert any(row["segments"] for row in alone) and several == alone
