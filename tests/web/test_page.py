"""The web page with a small random model, in a real browser and by requests that a browser would not send."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import httpx
import pytest

pytest.importorskip("gradio", reason="the extra app is not installed")
from masqclip_d2.web.limits import Limits
from masqclip_d2.web.models import Models
from masqclip_d2.web.page import make_page
from tests.web.conftest import png

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
VARIABLES = ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY")
SECRET = "what visitors must not read"


@pytest.fixture(scope="module")
def page_app(predictor):
    """The application, and the folder that visitors can read."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.setenv(name, os.environ.get(name, ""))  # restored at the end
        app, is_busy = make_page(Models({"shapes": lambda: predictor}, 1), Limits(upload_mb=1))
        assert not is_busy()
        yield app, Path(os.environ["GRADIO_TEMP_DIR"])


@pytest.fixture(scope="module")
def address(page_app, run_server):
    with run_server(page_app[0]) as url:
        yield url
    assert not page_app[1].parent.exists()  # the temporary folder is gone


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def make_tab(browser, address):
    """Opens the page; the tab has the addresses of its requests and what its console says."""
    contexts = []

    def make(**settings):
        contexts.append(browser.new_context(**settings))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(30_000)
        tab.urls, tab.console_errors = [], []
        tab.on("request", lambda request: tab.urls.append(request.url))
        tab.on("pageerror", lambda error: tab.console_errors.append(str(error)))
        tab.goto(address)
        segment_button(tab).wait_for()
        return tab

    yield make
    for context in contexts:
        context.close()


def segment_button(tab):
    return tab.get_by_role("button", name="Segment", exact=True)


def upload(tab, content, name="photo.png"):
    file = {"name": name, "mimeType": "image/png", "buffer": content}
    tab.locator("input[type=file]").first.set_input_files(file)
    tab.locator("img[src*='file=']").first.wait_for(state="attached")


def add_chips(tab, field, *names):
    """By the keyboard."""
    box = tab.get_by_label(field, exact=True).first
    for name in names:
        box.fill(name)
        box.press("Enter")


def segmented(tab, content=None, *names):
    upload(tab, png() if content is None else content)
    add_chips(tab, "Categories", *(names or ("cat", "dog")))
    segment_button(tab).click()
    tab.locator("#result .mq svg").first.wait_for()


def test_a_visit(make_tab, address):
    tab = make_tab(viewport={"width": 1300, "height": 900})
    segmented(tab)
    add_chips(tab, "Stuff", "sky")
    tab.locator("#result table").wait_for()
    shapes = tab.locator("#result .refined .seg")
    assert shapes.count() >= 1
    shapes.first.focus()  # the name appears for the keyboard as for the pointer
    assert shapes.first.locator(".tip").is_visible()
    assert not tab.locator("#result .coarse svg").is_visible()
    tab.get_by_label("Coarse masks").check()
    assert tab.locator("#result .coarse svg").is_visible() and not tab.locator("#result .refined svg").is_visible()
    tab.wait_for_function("!document.querySelector('#download-coco').disabled")
    with tab.expect_download() as download:
        tab.locator("#download-coco").click()
    content = json.loads(Path(download.value.path()).read_text())
    assert [one["name"] for one in content["categories"]][:2] == ["cat", "dog"]
    assert content["images"][0]["file_name"] == "photo.png"
    elsewhere = [url for url in tab.urls if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == [] and tab.console_errors == []


def test_other_categories_are_answered_at_once(make_tab, predictor, monkeypatch):
    tab, evil = make_tab(), "<u>x</u>"
    segmented(tab, png(), evil)
    assert tab.locator("#result td", has_text=evil).count() and not tab.locator("#result u").count()

    def refuse(*arguments):
        raise AssertionError("a network ran")

    monkeypatch.setattr(predictor, "encode", refuse)
    tab.evaluate("document.querySelector('#result .mq').classList.add('old')")
    add_chips(tab, "Stuff", "sky")  # without a click
    tab.locator("#result .mq:not(.old) table").wait_for()
    tab.locator("#result .mq").evaluate("each => each.classList.add('old')")
    add_chips(tab, "Categories", "a, b,c")  # pasted
    tab.locator("#result .mq:not(.old) table").wait_for()
    assert tab.locator("#categories .token").all_inner_texts() == [evil, "a", "b", "c"]


def test_errors_are_sentences(make_tab):
    tab = make_tab()
    segment_button(tab).click()
    tab.get_by_text("Choose an image first.").wait_for()
    upload(tab, b"hello", "text.jpg")
    add_chips(tab, "Categories", "cat")
    segment_button(tab).click()
    tab.get_by_text("Image text.jpg cannot be read: it is text, no image: it begins with 'hello'.").wait_for()


def test_a_phone(make_tab):
    tab = make_tab(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    segmented(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for field in ("Categories", "Stuff"):
        assert tab.get_by_label(field, exact=True).first.bounding_box()["width"] <= 390
    assert tab.evaluate("document.documentElement.lang") == "en"


def test_a_tab_that_is_closed_during_a_run(make_tab, page_app, predictor, monkeypatch):
    worker = page_app[0].state.worker
    started, finish, encode = threading.Event(), threading.Event(), predictor.encode

    def slow(*arguments):
        started.set()
        assert finish.wait(30)
        return encode(*arguments)

    monkeypatch.setattr(predictor, "encode", slow)
    left, other = make_tab(), make_tab()
    upload(left, png(seed=5))
    add_chips(left, "Categories", "cat")
    segment_button(left).click()
    assert started.wait(30)
    left.close()
    upload(other, png(seed=6))
    add_chips(other, "Categories", "dog")
    segment_button(other).click()
    for _ in range(300):
        if worker.num_waiting:
            break
        other.wait_for_timeout(20)
    finish.set()
    other.locator("#result .mq svg").first.wait_for()
    kept = len(worker.encodings)
    other.close()
    for _ in range(500):  # the encoded image of a visitor who leaves is dropped
        if len(worker.encodings) < kept:
            break
        time.sleep(0.02)
    assert len(worker.encodings) < kept and not worker.is_busy


@pytest.fixture(scope="module")
def secrets(page_app, tmp_path_factory):
    """Files outside of the folder of uploads."""
    beside = page_app[1].parent / "secret.txt"
    elsewhere = tmp_path_factory.mktemp("secret") / "secret.txt"
    for path in (beside, elsewhere):
        path.write_text(SECRET)
    return beside, elsewhere


def test_no_file_outside_of_the_uploads_can_be_read(address, page_app, secrets):
    beside, elsewhere = secrets
    own = page_app[1]
    paths = [
        str(elsewhere), str(beside), f"{own}/../secret.txt", f"{own}/%2e%2e/secret.txt", f"{own}/..%2fsecret.txt",
        f"{own}//..//secret.txt", "../secret.txt", "secret.txt", "pyproject.toml", str(ROOT / "pyproject.toml"),
        "/proc/self/environ", f"file://{elsewhere}", f"{own}/", "",
    ]  # fmt: skip
    with httpx.Client() as client:
        for path in paths:
            for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/", "/svelte/",
                           "/custom_component/", "/favicon.ico/../", "/theme.css/.."):  # fmt: skip
                reply = client.get(f"{address}{prefix}{path}")
                assert SECRET not in reply.text and "[build-system]" not in reply.text and "PATH=" not in reply.text
        for url in (f"file={address}/", "file=https://example.org", "file=HTTPS://example.org", "proxy=https://x.org"):
            assert client.get(f"{address}/gradio_api/{url}").status_code == 403


def test_uploads_stay_inside_and_are_bounded(address, page_app):
    own = page_app[1]
    with httpx.Client() as client:
        files = {"files": ("../../../evil.png", png())}
        saved = client.post(f"{address}/gradio_api/upload", files=files).json()
        assert all(Path(path).resolve().is_relative_to(own) for path in saved)
        large = client.post(f"{address}/gradio_api/upload", files={"files": ("a.png", bytes(2_000_000))})
        assert large.status_code == 413
        headers = client.get(address).headers
    assert (
        "default-src 'self'" in headers["content-security-policy"] and "http" not in headers["content-security-policy"]
    )


def sent_to_queue(client, address, index, data) -> str:
    """What the queue answers to a program."""
    body = {"data": data, "fn_index": index, "session_hash": "visitor", "trigger_id": None, "event_data": None}
    client.post(f"{address}/gradio_api/queue/join", json=body).raise_for_status()
    text = ""
    with client.stream("GET", f"{address}/gradio_api/queue/data?session_hash=visitor") as stream:
        begin = time.monotonic()
        for line in stream.iter_lines():
            text += line
            if "process_completed" in line or time.monotonic() - begin > 20:
                break
    return text.replace('": ', '":')


def test_a_file_of_the_server_as_input_is_refused(address, page_app, secrets):
    """As a program could send it to the queue; no copy of it is made in the folder of uploads."""
    with httpx.Client(timeout=30) as client:
        events = client.get(f"{address}/config").json()["dependencies"]
        index = next(one["id"] for one in events if len(one["inputs"]) > 5)
        chips = next(one["id"] for one in events if len(one["inputs"]) == 1 and one["targets"][0][1] == "change")
        for path in (str(secrets[1]), f"{address}/config", "/dev/zero"):
            file = {"path": path, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
            data = [file, ["cat"], [], "panoptic", "shapes", 0, True, 0.5, "found by the model", None, None]
            for text in (sent_to_queue(client, address, index, data), sent_to_queue(client, address, chips, [[file]])):
                assert '"success":false' in text and "was not uploaded here" in text
    files = [path for path in page_app[1].rglob("*") if path.is_file()]
    assert not any(path.name in ("secret.txt", "config") for path in files)
