"""The HTTP service with a small random model: answers, refusals, many requests at once."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")
from masqclip_d2.coco_masks import run_length
from masqclip_d2.web.limits import Limits
from masqclip_d2.web.rendering import RESPONSES
from masqclip_d2.web.service import make_service
from tests.web.conftest import png


def segment(client, image=None, categories: str | list[str] = "cat,dog", files=(), **fields):
    image = png() if image is None else image
    return client.post(
        "/segment",
        data={"categories": categories, **fields},
        files=[("image", ("photo.png", image)), *files],
    )


def error(reply, status):
    """The sentence of a refusal."""
    assert reply.status_code == status, reply.text
    content = reply.json()
    assert list(content) == ["error"] and content["error"].endswith(".") and "\n" not in content["error"]
    assert "/tmp" not in content["error"]
    return content["error"]


def test_formats(make_client, predictor):
    client = make_client()
    expected = predictor(png(), "cat,dog", stuff="sky", task="semantic")
    fields = {"stuff": "sky", "task": "semantic"}
    coco = segment(client, format="coco", **fields).json()
    assert coco == json.loads(json.dumps(expected.to_coco("photo.png")))
    assert segment(client, **fields).json() == coco
    found = segment(client, format="json", **fields).json()
    assert found == json.loads(json.dumps({"image": "photo.png", **expected.to_dict()}))
    runs = segment(client, format="coco-rle", **fields).json()["annotations"]
    assert [one["segmentation"] for one in runs] == [run_length(one.mask) for one in expected]
    labels = segment(client, format="labels", **fields)
    assert labels.headers["content-type"] == "image/png"
    assert (np.asarray(Image.open(io.BytesIO(labels.content))) == expected.label_map() + 1).all()
    overlay = np.asarray(Image.open(io.BytesIO(segment(client, format="overlay", **fields).content)))
    assert (overlay == expected.draw()).all()
    assert client.get("/health").json()["encoded_images"] == 1  # the same image each time


def test_masks_of_ones_own(make_client):
    client, masks = make_client(), []
    for part in (np.s_[:, :16], np.s_[:, 16:]):
        inside = np.zeros((24, 32), bool)
        inside[part] = True
        masks.append(inside)
    pngs = []
    for index, inside in enumerate(masks):
        buffer = io.BytesIO()
        Image.fromarray(inside.astype(np.uint8) * 255).save(buffer, "PNG")
        pngs.append(("masks", (f"{index}.png", buffer.getvalue())))
    content = json.dumps([{"segmentation": run_length(inside)} for inside in masks])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, masks=np.stack(masks))
    for files in (pngs, [("masks", ("own.json", content))], [("masks", ("own.npz", buffer.getvalue()))]):
        found = segment(client, files=files, format="json", task="semantic").json()["segments"]
        assert {one["area"] for one in found} <= {24 * 16, 24 * 32} and sum(one["area"] for one in found) == 24 * 32
    mixed = [pngs[0], ("masks", ("own.json", content))]
    assert "PNG files with a mask each, or one file" in error(segment(client, files=mixed), 422)
    small = io.BytesIO()
    Image.new("L", (8, 8)).save(small, "PNG")
    message = error(segment(client, files=[("masks", ("a.png", small.getvalue()))]), 422)
    assert message.startswith("A mask of a.png is 8x8 pixels, but the image is 32x24")
    many = make_client(masks=1)
    assert "There are 2 masks of 32 x 24 pixels; at most 1" in error(segment(many, files=pngs), 413)


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"hello", 415, "Image photo.png cannot be read: it is text, no image: it begins with 'hello'"),
        (b"", 415, "it is empty"),
        (png()[:-40], 422, "photo.png cannot be read"),
        (png(2, 2)[:20], 415, "photo.png cannot be read"),
    ],
)
def test_files_that_are_no_images(make_client, content, status, message):
    client = make_client()
    assert message in error(segment(client, content), status)
    assert segment(client).status_code == 200


def test_fields_that_would_be_ignored_are_refused(make_client):
    client = make_client()
    assert "There is no field 'taks'; the fields are " in error(segment(client, taks="semantic"), 422)
    message = error(segment(client, categories=["cat", "dog"]), 422)
    assert message == "The field categories is there 2 times, but has one value; separate names by commas."
    assert "The field image is there 2 times" in error(segment(client, files=[("image", ("b.png", png()))]), 422)


def test_images_of_odd_sizes_and_animations(make_client):
    client = make_client()
    assert segment(client, png(1, 1)).json()["images"][0]["width"] == 1
    assert segment(client, png(100, 12000)).json()["images"][0]["width"] == 12000
    animation = io.BytesIO()
    frames = [Image.new("RGB", (9, 7), color) for color in ("red", "blue")]
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    assert segment(client, animation.getvalue()).json()["images"][0]["height"] == 7
    small = make_client(megapixels=0.01)
    assert "has 1 megapixels (12000 x 100); at most 0.01" in error(segment(small, png(100, 12000)), 413)


def test_categories(make_client):
    client = make_client(categories=100)
    assert "The field categories is missing or empty" in error(segment(client, categories=""), 422)
    assert "vocabulary" in error(segment(client, categories=" , "), 422)
    assert "There are 10000 category names; at most 100" in error(
        segment(client, categories=",".join(f"name {index}" for index in range(10_000))), 422
    )
    assert "'cat' " in error(segment(client, categories="cat,dog,cat"), 422)
    assert "needs 602 tokens" in error(segment(client, categories=" ".join(["very"] * 300)), 422)
    found = segment(client, categories="\U0001f431,dog", stuff="dog").json()["categories"]
    assert [(one["name"], one["isthing"]) for one in found] == [("\U0001f431", 1), ("dog", 0)]
    assert "1MB" in error(segment(client, categories="a" * 1_100_000), 400).replace("1024KB", "1MB")


def test_fields(make_client):
    client = make_client()
    assert "The field task is wrong" in error(segment(client, task="none"), 422)
    assert "The field format is wrong" in error(segment(client, format="gif"), 422)
    assert "The field confidence_threshold is wrong" in error(segment(client, confidence_threshold="2"), 422)
    assert "The field image is missing" in error(client.post("/segment", data={"categories": "a"}), 422)
    assert error(client.get("/nothing"), 404) == "Not Found."
    assert segment(client, confidence_threshold="1").json()["annotations"] == []


def test_large_uploads_are_refused_whether_their_size_is_known_or_not(make_client):
    client = make_client(upload_mb=0.2)
    message = "The upload has more than 0.2 MB"
    large = bytes(400_000)
    assert message in error(segment(client, large), 413)
    assert message in error(segment(client, bytes(250_000)), 413)  # of the file, not of the request
    reply = client.post(
        "/segment",
        content=(large[:100_000] for _ in range(4)),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert message in error(reply, 413)


def test_description_and_documentation_need_nothing_from_elsewhere(make_client):
    client = make_client()
    page = client.get("/").text
    assert "swagger-ui-bundle.js" in page and "https://" not in page
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    schema = client.get("/openapi.json").json()
    body = schema["components"]["schemas"]["Body_segment_segment_post"]["properties"]
    assert body["format"]["enum"] == list(RESPONSES)
    limits = client.get("/limits").json()
    assert limits["upload_mb"] == 50 and isinstance(limits["categories"], int)


def test_two_hundred_requests_at_once(models, predictor, run_server):
    """Each has its own image, categories and task, and gets its own answer."""
    import httpx

    service = make_service(models, Limits(cache_mb=0.5))
    tasks, most = ("panoptic", "semantic", "instance"), []

    def request(index):
        fields = {"categories": f"cat {index},dog", "stuff": "sky", "task": tasks[index % 3], "format": "json"}
        files = {"image": (f"{index}.png", png(20 + index % 7, 30, index))}
        reply = client.post(f"{address}/segment", data=fields, files=files)
        most.append(service.state.worker.encodings.num_bytes)
        return reply

    client = httpx.Client(timeout=120, limits=httpx.Limits(max_connections=200), verify=False)
    with run_server(service) as address, client, ThreadPoolExecutor(200) as pool:
        replies = list(pool.map(request, range(200)))
        assert httpx.get(f"{address}/health").json()["done"] == 200
    assert [reply.status_code for reply in replies] == [200] * 200
    for index, reply in enumerate(replies):
        found = reply.json()
        assert (found["image"], found["vocabulary"][0]) == (f"{index}.png", f"cat {index}")
        assert found["height"] == 20 + index % 7 and found["task"] == tasks[index % 3]
        if index % 10 == 0:
            expected = predictor(png(20 + index % 7, 30, index), f"cat {index},dog", "sky", tasks[index % 3])
            shown = [(one["label"], one["area"]) for one in found["segments"]]
            assert shown == [(one.label, one.area) for one in expected]
    assert 0 < max(most) <= 0.5e6


def test_a_full_queue_and_a_client_that_leaves(models, predictor, run_server, monkeypatch):
    import httpx

    started, finish, encode = threading.Event(), threading.Event(), predictor.encode

    def slow(image, masks=None):
        started.set()
        assert finish.wait(30)
        return encode(image, masks)

    monkeypatch.setattr(predictor, "encode", slow)
    service = make_service(models, Limits(queue=2))
    worker = service.state.worker

    def request(seed, timeout=60):
        files = {"image": ("a.png", png(seed=seed))}
        return httpx.post(f"{address}/segment", data={"categories": "cat"}, files=files, timeout=timeout)

    def wait_for(count):
        for _ in range(300):
            if worker.num_waiting == count:
                return True
            threading.Event().wait(0.02)
        return False

    with run_server(service) as address, ThreadPoolExecutor(4) as pool:
        running = pool.submit(request, 0)
        assert started.wait(30)
        leaving = pool.submit(request, 1, timeout=1)
        waiting = pool.submit(request, 2)
        assert wait_for(2)
        refused = request(3)
        assert "The server is busy: 2 requests wait" in error(refused, 503) and refused.headers["retry-after"] == "5"
        with pytest.raises(httpx.ReadTimeout):
            leaving.result()
        assert wait_for(1)  # its place is free
        finish.set()
        assert running.result().status_code == waiting.result().status_code == 200
    assert worker.num_done == 2
