"""The web page: an image, any categories, and the segments to look at and to download. This module imports Gradio."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..batch.inputs import SAMPLES
from ..optional_packages import optional_package, require_packages
from .body_limit import BodyLimit
from .drawing_board import protect_board
from .drawn_masks import BRUSHES
from .limits import Limits
from .models import Models
from .overlay_html import STYLES, message_html
from .page_headers import PageHeaders
from .refusals import Refusal
from .uploads import Upload, check_image, require_uploaded
from .visits import MASK_SOURCES, Found, Request, Visits, chips
from .worker import Worker

# Before Gradio is imported: it reads them then.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
require_packages("The web page", "app", "gradio", "fastapi", "uvicorn")
gr: Any = optional_package("gradio")

_FONTS = ["system-ui", "sans-serif"]
_BOARD = 1000  # pixels of the longer side of the drawing board
_EXAMPLES = {
    "Example: water": ("shapes_1.png", "dotted cross,dotted square,checkered square", "water"),
    "Example: bricks": ("shapes_2.png", "checkered square,ringed star,plain cross", "brick,sand"),
    "Example: grass": ("shapes_3.png", "striped crescent,zigzag triangle,dotted circle", "grass,wood,water"),
}  # of the model "shapes"
_CHIPS = "Type a name, press Enter. Synonyms: dog|puppy. Or paste dog, ball, cat."
_COMPETE = "Where the model has them; what they win has no label."
_TOY = "shapes"
_INTRO = """# Segment anything you can name
An image, any category names, and the model finds their segments: things one by one, stuff (grass, sky) as a whole."""
_TOY_NOTE = """**This is the toy model of rendered shapes.** It knows nothing else; `masqclip app --model photos` is for
photographs."""
_STYLES = """
.gradio-container{max-width:1400px!important;width:100%!important;margin:auto}
@media (max-width:600px){.gradio-container{padding:8px!important}}
#result{min-height:4em}
footer{display:none!important}
"""


def make_page(models: Models, limits: Limits) -> tuple[Any, Callable[[], bool]]:
    """The application, for any ASGI server, and a function that returns whether it is at work.

    Args:
        models: to choose from; the first one is the default.
        limits: see there.

    Raises:
        ImportError: Gradio is not installed.
    """
    fastapi: Any = optional_package("fastapi")
    worker, temporary = (
        Worker(models, limits),
        tempfile.TemporaryDirectory(prefix="masqclip-app-", ignore_cleanup_errors=True),
    )
    folder = Path(temporary.name)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")  # the only folder that can be read through the page
    visits = Visits(worker, folder / "uploads" / "results")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(worker.stop, limits.stop_s)
        await asyncio.to_thread(visits.close, limits.stop_s)
        temporary.cleanup()

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(PageHeaders)
    app.add_middleware(BodyLimit, limits=limits)
    app.state.worker = worker
    theme = gr.themes.Default(font=_FONTS, font_mono=["monospace"])
    blocks = _blocks(visits, models, limits, folder / "uploads" / "examples")
    _take_uploads_only(blocks, folder / "uploads")
    mounted = gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        allowed_paths=[],
        max_file_size=limits.upload_bytes,
        footer_links=[],
        show_error=True,
        ssr_mode=False,
        pwa=False,
        run_history=False,
        enable_monitoring=False,
        theme=theme,
        css=STYLES + _STYLES,
    )
    return mounted, lambda: worker.is_busy


def _blocks(visits: Visits, models: Models, limits: Limits, folder: Path) -> Any:
    with gr.Blocks(title="masqclip_d2", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gr.Markdown(_INTRO)
        if models.names[0] == _TOY:
            gr.Markdown(_TOY_NOTE)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                image = gr.Image(
                    type="filepath", sources=["upload", "clipboard"], label="Image", height=260, buttons=[]
                )
                image.preprocess = _as_upload
                examples = gr.Row(visible=_TOY in models.names)
                categories = _names("Categories", _CHIPS)
                stuff = _names("Stuff", "Which of them are stuff (grass, sky); others are added.")
                button = gr.Button("Segment", variant="primary")
                task = gr.Radio(["panoptic", "instance", "semantic"], value="panoptic", label="Task")
                settings = _settings(models)
                own = _own_masks(image, limits)
            with gr.Column(scale=3, min_width=300):
                result = gr.HTML(message_html("The result will be here."), elem_id="result", label="Result")
                with gr.Row():
                    files = [_download(name) for name in _DOWNLOADS]
        with examples:
            _examples(folder, [image, categories, stuff])
        _connect(visits, limits, button, [image, categories, stuff, task, *settings, *own], [result, *files])
        blocks.unload(_leave(visits))
    return blocks.queue(max_size=limits.queue, default_concurrency_limit=limits.batch)


def _take_uploads_only(blocks: Any, folder: Path) -> None:
    """Refuse other files before Gradio copies them into its cache: mounted, it does not check that itself."""
    preprocess = blocks.preprocess_data

    async def checked(block_fn: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            require_uploaded(inputs, folder)
        except Refusal as refusal:
            raise gr.Error(str(refusal), duration=None, print_exception=False) from None
        return await preprocess(block_fn, inputs, *args, **kwargs)

    blocks.preprocess_data = checked


_DOWNLOADS = ("JSON", "COCO", "Label map", "Picture")


def _download(name: str) -> Any:
    elem_id = f"download-{name.lower().replace(' ', '-')}"
    return gr.DownloadButton(name, size="sm", min_width=90, interactive=False, elem_id=elem_id)


def _examples(folder: Path, outputs: list[Any]) -> None:
    folder.mkdir(parents=True)
    for label, (name, names, kinds) in _EXAMPLES.items():
        path = shutil.copy(SAMPLES / name, folder)
        values = [str(path), chips([names]), chips([kinds])]
        button = gr.Button(label, size="sm", min_width=120)
        button.click(lambda values=values: values, None, outputs, queue=False, api_visibility="private")


def _names(label: str, info: str) -> Any:
    return gr.Dropdown(
        [], value=[], multiselect=True, allow_custom_value=True, label=label, info=info, elem_id=label.lower()
    )


def _settings(models: Models) -> list[Any]:
    with gr.Accordion("Settings", open=False):
        return [
            gr.Dropdown(models.names, value=models.names[0], label="Model"),
            gr.Slider(0, 1, value=0, step=0.05, label="Least score of a segment"),
            gr.Checkbox(True, label="Other names compete", info=_COMPETE),
            gr.Slider(
                0, 1, value=0.5, step=0.05, label="Share from which on a category wins against other names",
            ),
        ]  # fmt: skip


def _own_masks(image: Any, limits: Limits) -> list[Any]:
    with gr.Accordion("Masks of your own get names", open=False):
        source = gr.Radio(list(MASK_SOURCES), value=MASK_SOURCES[0], label="Masks")
        uploaded = gr.File(
            file_count="multiple", file_types=[".png", ".npz", ".json"], type="filepath", height=120,
            label="Masks of the image's size: PNG files with a mask each, or one .npz or .json",
        )  # fmt: skip
        load = gr.Button("Load the image into the drawing board", size="sm")
        board = gr.ImageEditor(
            type="numpy", sources=[], transforms=[], layers=False, buttons=[], height=420, label="Drawing board",
            brush=gr.Brush(colors=list(BRUSHES), color_mode="fixed"),
        )  # fmt: skip
        gr.Markdown("Every color is one mask.")
        uploaded.preprocess = lambda payload: [_as_upload(one) for one in (payload.root if payload else [])]
        protect_board(board, limits)
        load.click(_board(limits), image, board, api_visibility="private")
        load.click(lambda: MASK_SOURCES[1], None, source, api_visibility="private")
        uploaded.upload(lambda: MASK_SOURCES[2], None, source, api_visibility="private")
    return [source, board, uploaded]


def _as_upload(payload: Any) -> Upload | None:
    """A file as it was uploaded, for the readers of this package in place of Gradio's."""
    if payload is None or not payload.path:
        return None
    return Upload(Path(payload.path), payload.orig_name or Path(payload.path).name)


def _board(limits: Limits) -> Callable[[Upload | None], Any]:
    from ..data.images import image_pixels

    def load(image: Upload | None) -> Any:
        if image is None:
            raise gr.Error("Choose an image first.")
        try:
            check_image(image, limits)
            shown = Image.fromarray(image_pixels(image.path))
        except ValueError as error:
            raise gr.Error(str(error)) from None
        shown.thumbnail((_BOARD, _BOARD))
        return {"background": np.asarray(shown), "layers": [], "composite": None}

    return load


def _connect(visits: Visits, limits: Limits, button: Any, inputs: list[Any], outputs: list[Any]) -> None:
    _, categories, stuff, task, *settings = inputs[:8]

    def request_of(values: tuple[Any, ...], request: Any) -> Request:
        image, names, kinds, of_task, model, least, compete, share, source, board, uploaded = values
        drawn = list((board or {}).get("layers") or ())
        session = getattr(request, "session_hash", None) or "none"
        return Request(session, image, names, kinds, model, of_task, least, compete, share, source, drawn, uploaded)

    def answer(found: Found, session: str) -> Iterator[list[Any]]:
        yield [found.html, *(gr.skip() for _ in _DOWNLOADS)]
        paths = visits.save(session, found)
        yield [gr.skip(), *(gr.DownloadButton(value=str(path), interactive=True) for path in paths)]

    def segment(request: Any, *values: Any) -> Iterator[list[Any]]:
        wanted = request_of(values, request)
        try:
            found = visits.segment(wanted)
        except Refusal as refusal:
            raise gr.Error(str(refusal), duration=None, print_exception=False) from None
        yield from answer(found, wanted.session)

    def again(request: Any, *values: Any) -> Iterator[list[Any]]:
        """The same for other categories, if the networks need not run."""
        wanted = request_of(values, request)
        if not visits.is_encoded(wanted):
            yield [gr.skip() for _ in outputs]
            return
        yield from segment(request, *values)

    for handler in (segment, again):  # for Gradio, which type checkers need not find
        handler.__annotations__["request"] = gr.Request
    settings_of_event = {"inputs": inputs, "outputs": outputs, "api_visibility": "private"}
    limit = {"concurrency_limit": limits.batch, "concurrency_id": "segment", "show_progress_on": outputs[:1]}
    button.click(segment, **settings_of_event, **limit, scroll_to_output=True)
    for names in (categories, stuff):
        names.change(_separate_chips, names, names, queue=False, show_progress="hidden", api_visibility="private").then(
            again, **settings_of_event, **limit, show_progress="minimal", trigger_mode="always_last"
        )
    for field in (task, *settings):
        field.input(again, **settings_of_event, **limit, show_progress="minimal", trigger_mode="always_last")


def _separate_chips(texts: list[str]) -> Any:
    """A chip for each name, where several were pasted."""
    found = chips(texts)
    return gr.skip() if found == texts else found


def _leave(visits: Visits) -> Callable[[Any], None]:
    def leave(request: Any) -> None:
        visits.leave(getattr(request, "session_hash", None) or "none")

    leave.__annotations__["request"] = gr.Request
    return leave
