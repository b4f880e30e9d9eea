import threading
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace

import pytest

from masqclip_d2.web.limits import Limits
from masqclip_d2.web.models import Models
from masqclip_d2.web.refusals import Refusal
from masqclip_d2.web.uploads import Upload
from masqclip_d2.web.worker import Job, Worker
from tests.web.test_encodings import encoded


class Fake:
    """A predictor that notes what it encodes; files with "bad" in their names fail."""

    def __init__(self):
        self.calls, self.open = [], threading.Event()
        self.open.set()

    def prepare(self, *arguments):
        pass

    def encode(self, image, masks=None):
        assert self.open.wait(20)
        images = image if isinstance(image, list) else [image]
        self.calls.append([path.name for path in images])
        if any("bad" in path.name for path in images):
            raise ValueError(f"Image {images[0]} is damaged.")
        return [encoded() for _ in images] if isinstance(image, list) else encoded()


def job(name, model="m", session="", key=None, megapixels=1, size=1, **settings):
    image = SimpleNamespace(path=Path(name), upload=Upload(Path(name), f"my {name}"), megapixels=megapixels, size=size)
    return Job(image, key or name, lambda predictor, found: (name, found), model, session, **settings)


@pytest.fixture
def fakes():
    return {"m": Fake(), "n": Fake()}


@pytest.fixture
def make_worker(fakes):
    made = []

    def make(**limits):
        loaders = {name: lambda fake=fake: fake for name, fake in fakes.items()}
        made.append(Worker(Models(loaders, 2), Limits(**limits)))
        return made[-1]

    yield make
    for fake in fakes.values():
        fake.open.set()
    for worker in made:
        worker.stop(10)


def held(worker, fakes, jobs):
    """Submit jobs while the worker is busy with another one; their futures when all are done."""
    fakes["m"].open.clear()
    first = worker.submit(job("first"))
    while not first.running():
        threading.Event().wait(0.005)
    futures = [worker.submit(each) for each in jobs]
    fakes["m"].open.set()
    wait(futures, 20)
    return futures


def test_jobs_that_wait_share_a_pass(make_worker, fakes):
    worker = make_worker(batch=3)
    futures = held(worker, fakes, [job("a"), job("b", "n"), job("c"), job("c"), job("d")])
    assert [future.result()[0] for future in futures] == ["a", "b", "c", "c", "d"]
    assert fakes["m"].calls == [["first"], ["a", "c"], ["d"]]  # c is one image
    assert fakes["n"].calls == [["b"]]
    assert worker.submit(job("a")).result(20)[0] == "a" and len(fakes["m"].calls) == 3  # it was kept


def test_large_images_do_not_share_a_pass(make_worker, fakes):
    held(make_worker(batch_megapixels=5), fakes, [job("a", megapixels=30), job("b", megapixels=3), job("c"), job("d")])
    assert fakes["m"].calls == [["first"], ["a"], ["b", "c", "d"]]


def test_a_damaged_image_fails_alone(make_worker, fakes):
    futures = held(make_worker(), fakes, [job("a"), job("bad"), job("c")])
    assert [future.result()[0] for future in (futures[0], futures[2])] == ["a", "c"]
    with pytest.raises(Refusal, match="^Image my bad is damaged.$"):
        futures[1].result()
    assert fakes["m"].calls == [["first"], ["a", "bad", "c"], ["a"], ["bad"], ["c"]]


def test_an_error_of_another_kind_fails_its_batch_and_the_worker_goes_on(make_worker, fakes, monkeypatch):
    worker = make_worker()
    monkeypatch.setattr(worker.encodings, "put", lambda *arguments: 1 / 0)
    for future in held(worker, fakes, [job("a"), job("b")]):
        with pytest.raises(ZeroDivisionError):
            future.result()
    monkeypatch.undo()
    assert worker.submit(job("c")).result(20)[0] == "c" and not worker.num_waiting


def test_masks_are_encoded_alone_and_refused_masks_too(make_worker, fakes):
    def refuse():
        raise Refusal("No.", 413)

    futures = held(make_worker(), fakes, [job("a", masks=lambda: 1), job("b", masks=refuse), job("c", masks=list)])
    assert fakes["m"].calls == [["first"], ["a"], ["c"]] and futures[2].result()
    with pytest.raises(Refusal, match="No"):
        futures[1].result()


def test_the_queue_is_bounded_in_number_and_size(make_worker, fakes):
    worker = make_worker(queue=2, queue_mb=1)
    with pytest.raises(Refusal, match="2 requests wait"):
        held(worker, fakes, [job(str(index)) for index in range(3)])
    fakes["m"].open.set()
    with pytest.raises(Refusal, match="busy") as refused:
        worker.submit(job("large", size=2_000_000))
    assert refused.value.status == 503


def test_what_is_cancelled_or_waits_for_too_long_is_not_run(make_worker, fakes):
    worker = make_worker()
    fakes["m"].open.clear()
    first = worker.submit(job("first"))
    while not first.running():
        threading.Event().wait(0.005)
    jobs = [job("a", session="one"), job("b", session="two"), job("c", session="one", arrived=-1e6), job("d")]
    futures = [worker.submit(each) for each in jobs[:2]]
    late = worker.submit(job("late", arrived=-1e6))
    worker.forget("one")
    assert futures[0].cancelled() and worker.num_waiting == 2
    fakes["m"].open.set()
    assert futures[1].result(20)[0] == "b"
    with pytest.raises(Refusal, match="120 s were too short"):
        late.result(20)
    assert fakes["m"].calls == [["first"], ["b"]]


def test_stopping_finishes_what_was_accepted(make_worker, fakes):
    worker = make_worker()
    futures = held(worker, fakes, [job("a"), job("b")])
    worker.stop(20)
    assert all(future.done() for future in futures)
    with pytest.raises(Refusal, match="stopping"):
        worker.submit(job("c"))


def test_a_model_that_cannot_be_loaded_fails_its_jobs_only(fakes):
    def fail():
        raise ValueError("no weights")

    worker = Worker(Models({"bad": fail, "m": lambda: fakes["m"]}, 1), Limits())
    with pytest.raises(ValueError, match="no weights"):
        worker.submit(job("a", "bad")).result(20)
    with pytest.raises(Refusal, match="There is no model 'x' here; expected one of bad, m"):
        worker.submit(job("a", "x")).result(20)
    assert worker.submit(job("a")).result(20)[0] == "a"
    worker.stop(20)
