import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.web.drawn_masks import BRUSHES
from masqclip_d2.web.limits import Limits
from masqclip_d2.web.refusals import Refusal
from masqclip_d2.web.uploads import Upload
from masqclip_d2.web.visits import MASK_SOURCES, Request, Visits, chips
from masqclip_d2.web.worker import Worker
from tests.web.conftest import png


@pytest.fixture
def worker(models):
    made = Worker(models, Limits())
    yield made
    made.stop(10)


@pytest.fixture
def visits(worker, tmp_path):
    return Visits(worker, tmp_path / "results")


@pytest.fixture
def request_of(tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(png())

    def make(categories=("cat", "dog"), session="me", **others):
        return Request(session, Upload(path, "my photo.png"), categories, **others)

    return make


def test_other_categories_need_no_network(visits, worker, request_of, predictor, monkeypatch):
    assert not visits.is_encoded(request_of())
    found = visits.segment(request_of(stuff=["dog"], task="semantic"))
    expected = predictor(png(), "cat,dog", "dog", "semantic")
    assert [(one.label, one.area) for one in found.result] == [(one.label, one.area) for one in expected]
    assert "Coarse masks" in found.html  # this model refines masks

    def refuse(*arguments):
        raise AssertionError("a network ran")

    monkeypatch.setattr(predictor, "encode", refuse)
    assert visits.is_encoded(request_of(["cow"]))
    assert visits.segment(request_of(["cow"])).result.vocabulary.names == ("cow",)
    assert not visits.is_encoded(request_of(session="another"))
    visits.leave("me")
    assert not visits.is_encoded(request_of()) and worker.encodings.num_bytes == 0


def test_files_of_a_result(visits, request_of, tmp_path):
    found = visits.segment(request_of())
    first, second = visits.save("../../me", found), visits.save("../../me", found)
    paths = visits.save("../../me", found)
    assert [path.name for path in paths] == [
        "my_photo.json", "my_photo_coco.json", "my_photo_labels.png", "my_photo.png"
    ]  # fmt: skip
    assert all(path.is_file() and path.is_relative_to(tmp_path / "results") for path in paths)
    assert second[0].exists() and not first[0].exists()
    assert json.loads(paths[1].read_text())["images"][0]["file_name"] == "my photo.png"
    visits.leave("../../me")
    assert not paths[0].exists()
    visits.close(1)
    with pytest.raises(Refusal, match="stopping"):
        visits.save("me", found)


def test_drawn_masks_get_names(visits, request_of):
    layer = np.zeros((24, 32, 4), np.uint8)
    for index, part in enumerate((np.s_[:12], np.s_[12:])):
        layer[part] = [*bytes.fromhex(BRUSHES[index][1:]), 255]
    found = visits.segment(request_of(masks=MASK_SOURCES[1], drawn=[layer], task="semantic"))
    assert "Mask 1: " in found.html and "Mask 2: " in found.html and "Mask 3" not in found.html
    assert sum(segment.area for segment in found.result) == 24 * 32
    with pytest.raises(Refusal, match="Nothing is drawn yet"):
        visits.segment(request_of(masks=MASK_SOURCES[1], drawn=[layer * 0]))


def test_uploaded_masks_get_names(visits, request_of, tmp_path):
    buffer = io.BytesIO()
    Image.new("L", (32, 24), 255).save(buffer, "PNG")
    (tmp_path / "a").write_bytes(buffer.getvalue())
    own = [Upload(tmp_path / "a", "one.png")]
    assert "Mask 1: " in visits.segment(request_of(masks=MASK_SOURCES[2], uploaded=own)).html
    with pytest.raises(Refusal, match="Choose files with masks first"):
        visits.segment(request_of(masks=MASK_SOURCES[2]))
    (tmp_path / "a").write_bytes(png())
    with pytest.raises(Refusal, match="^Mask one.png has mode RGB; expected one channel"):
        visits.segment(request_of(masks=MASK_SOURCES[2], uploaded=own))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "Choose an image first"),
        ({"categories": []}, "The vocabulary is empty"),
        ({"categories": ["cat", "cat"]}, "'cat'"),
        ({"categories": [f"{index}" for index in range(10_000)]}, "There are 10000 category names"),
        ({"categories": ["very " * 300]}, "needs 602 tokens"),
        ({"model": "other"}, "There is no model 'other' here"),
    ],
)
def test_refusals(visits, request_of, changes, message):
    request = request_of()
    with pytest.raises(Refusal, match=message):
        visits.segment(Request(**{**vars(request), **changes}))


def test_a_file_that_is_no_image(visits, tmp_path):
    (tmp_path / "x").write_text("hello")
    with pytest.raises(Refusal, match=r"^Image text.jpg cannot be read: it is text"):
        visits.segment(Request("me", Upload(Path(tmp_path, "x"), "folder/text.jpg"), ["cat"]))


def test_an_upload_is_checked_once_and_may_be_gone(visits, request_of, monkeypatch):
    visits.segment(request_of())
    request = request_of(["cow"])
    monkeypatch.setattr("masqclip_d2.web.uploads.opened_image", lambda *_, **__: (_ for _ in ()).throw(AssertionError))
    visits.segment(request)
    request.image.path.unlink()
    with pytest.raises(Refusal, match="The file my photo.png is no longer here; upload it again"):
        visits.segment(request)


def test_chips():
    assert chips(["dog|puppy", "cat, cow\nbird", " "]) == ["dog|puppy", "cat", "cow", "bird"]
