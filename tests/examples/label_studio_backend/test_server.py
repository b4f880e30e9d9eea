"""The backend of Label Studio over HTTP, with a predictor that finds two squares."""

import base64
import http.client
import importlib.util
import io
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from masqclip_d2.results import Segment, Segmentation
from tests.examples.label_studio_backend.test_brush_rle import FOLDER, decode

CONFIG = """<View><Image name="image" value="$picture"/>
<{tag} name="label" toName="image"><Label value="dog"/><Label value="grass" kind="stuff"/></{tag}></View>"""
MASK = np.zeros((20, 30), dtype=bool)
MASK[2:12, 3:13] = MASK[2:12, 20:28] = True


@pytest.fixture
def module(monkeypatch):
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("label_studio_server", FOLDER / "server.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    yield loaded
    sys.path[:] = before


@pytest.fixture
def seen():
    return []


@pytest.fixture
def ask(module, tmp_path, seen):
    """Sends a request to a server, and returns status and answer."""
    from masqclip_d2.data.images import image_pixels

    def predictor(image, vocabulary):
        pixels = image_pixels(image)
        seen.append((pixels.shape, vocabulary))
        segments = [Segment("dog", 0, True, 0.9, MASK), Segment("grass", 1, False, 0.2, ~MASK)]
        return Segmentation(pixels, vocabulary, "panoptic", segments)

    (tmp_path / "files").mkdir()
    backend = module.Backend(predictor, files=tmp_path / "files", min_score=0.3)
    server = module.make_server(backend, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def send(method, path, content=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        body = content if isinstance(content, (bytes, type(None))) else json.dumps(content)
        connection.request(method, path, body)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())

    yield send
    server.shutdown()
    server.server_close()


def image_file(path=None):
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, format="PNG")
    if path is not None:
        Path(path).write_bytes(file.getvalue())
    return file.getvalue()


def tasks(*addresses):
    return [{"id": number, "data": {"picture": address}} for number, address in enumerate(addresses)]


def test_health_and_setup(ask):
    assert ask("GET", "/health") == (200, {"status": "UP", "model_class": "MasQCLIP"})
    assert ask("POST", "/setup", {"project": "1", "schema": ""}) == (200, {"model_version": "masqclip_d2"})
    assert ask("POST", "/webhook", {"action": "X"}) == (200, {})
    status, answer = ask("GET", "/other")
    assert status == 404 and "There is no '/other'" in answer["error"]


def test_brush_masks_of_a_local_file(ask, seen, tmp_path):
    image_file(tmp_path / "files" / "a.png")
    request = {"tasks": tasks("/data/local-files/?d=a.png"), "label_config": CONFIG.format(tag="BrushLabels")}
    status, answer = ask("POST", "/predict", request)
    assert status == 200 and answer["model_version"] == "masqclip_d2"
    [(shape, vocabulary)] = seen
    assert shape == (20, 30, 3) and vocabulary.names == ("dog", "grass") and vocabulary.is_thing == (True, False)
    [prediction] = answer["results"]
    [region] = prediction["result"]  # grass has a low score
    assert (region["from_name"], region["to_name"], region["type"]) == ("label", "image", "brushlabels")
    assert (region["original_width"], region["original_height"]) == (30, 20) and prediction["score"] == 0.9
    assert region["value"]["format"] == "rle" and region["value"]["brushlabels"] == ["dog"]
    pixels = np.array(decode(region["value"]["rle"])).reshape(20, 30, 4)
    assert np.array_equal(pixels[..., 0] > 0, MASK)


def test_polygons_in_percent_of_an_image_in_the_task(ask):
    address = "data:image/png;base64," + base64.b64encode(image_file()).decode()
    request = {"tasks": tasks(address), "label_config": CONFIG.format(tag="PolygonLabels")}
    regions = ask("POST", "/predict", request)[1]["results"][0]["result"]
    assert len(regions) == 2 and all(region["value"]["polygonlabels"] == ["dog"] for region in regions)
    polygons = [(np.array(region["value"]["points"]) * (0.3, 0.2)).ravel().tolist() for region in regions]
    assert np.array_equal(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 20, 30))), MASK)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/data/local-files/?d=../secret.png", "lies outside of --files"),
        ("/data/local-files/?d=missing.png", "does not exist"),
        ("/data/upload/1/a.png", "neither below --files nor at --url"),
        ("http://169.254.169.254/latest", "neither below --files nor at --url"),
        ("file:///etc/passwd", "neither below --files nor at --url"),
        ("data:image/png;base64,%%%", "is not in base64"),
        ("data:image/png;base64,aGVsbG8=", "cannot be read"),
    ],
)
def test_images_that_cannot_be_read_leave_the_others(ask, seen, tmp_path, capsys, address, reason):
    image_file(tmp_path / "secret.png")
    image_file(tmp_path / "files" / "a.png")
    request = {"tasks": tasks(address, "/data/local-files/?d=a.png"), "label_config": CONFIG.format(tag="BrushLabels")}
    status, answer = ask("POST", "/predict", request)
    assert status == 200 and [len(one["result"]) for one in answer["results"]] == [0, 1] and len(seen) == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "Expecting value"),
        (b"[]", "no JSON object"),
        ({"tasks": 7}, "no list of tasks"),
        ({"tasks": []}, "is no XML"),
        ({"tasks": [], "label_config": "<View><!-- x --></View>"}, "a declaration or a comment"),
        ({"tasks": [], "label_config": '<View><Image name="image"/></View>'}, "no <BrushLabels> or <PolygonLabels>"),
        ({"tasks": [], "label_config": CONFIG.format(tag="BrushLabels").replace("grass", "Dog")}, "duplicate"),
    ],
)
def test_wrong_requests_are_one_sentence(ask, content, message):
    status, answer = ask("POST", "/predict", content)
    assert status == 400 and message in answer["error"]


def test_many_requests_at_once(ask, tmp_path):
    image_file(tmp_path / "files" / "a.png")
    request = {"tasks": tasks("/data/local-files/?d=a.png"), "label_config": CONFIG.format(tag="BrushLabels")}
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(ask("POST", "/predict", request)[0])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20
