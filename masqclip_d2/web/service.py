"""The HTTP service: an image and category names in, COCO's JSON, a label map or a visualization out.

Endpoints are described at /docs, whose page needs nothing from elsewhere. This module imports FastAPI.
"""

# No postponed annotations: FastAPI evaluates those of `segment`.
import asyncio
import inspect
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from .. import __version__
from ..optional_packages import optional_package, require_packages
from .body_limit import BodyLimit
from .limits import Limits
from .models import Models
from .refusals import RETRY_AFTER, Refusal, as_refusal
from .rendering import RESPONSES
from .uploads import CheckedImage, Upload, check_categories, check_image, read_masks
from .worker import Job, Worker

require_packages("The HTTP service", "serve", "fastapi", "fastapi_offline", "uvicorn", "multipart")
fastapi: Any = optional_package("fastapi")
if TYPE_CHECKING:
    Request = UploadFile = Any
else:
    Request, UploadFile = fastapi.Request, fastapi.UploadFile

_POLL = 0.5  # seconds between two looks whether a client is still there
_ABOUT = """Open-vocabulary segmentation: an image and any category names in, masks out.

`POST /segment` answers with COCO's JSON, JSON of all segments, a label map or a visualization. An error is
`{"error": "one sentence"}`; 503 has the header Retry-After.
"""


def make_service(models: Models, limits: Limits) -> Any:
    """The application, for any ASGI server.

    Args:
        models: the first one answers.
        limits: see there.

    Raises:
        ImportError: FastAPI is not installed.
    """
    worker, folder = Worker(models, limits), tempfile.TemporaryDirectory(prefix="masqclip-serve-")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(worker.stop, limits.stop_s)
        folder.cleanup()

    make: Any = optional_package("fastapi_offline").FastAPIOffline
    app = make(redoc_url=None, title="masqclip_d2", version=__version__, description=_ABOUT, lifespan=lifespan)
    app.add_middleware(BodyLimit, limits=limits)
    app.state.worker = worker
    _add_error_handlers(app)
    _add_segment(app, worker, limits, Path(folder.name))

    @app.get("/", include_in_schema=False)
    async def root() -> Any:
        return fastapi.responses.RedirectResponse("docs")

    @app.get("/health", summary="Whether requests are accepted")
    async def health() -> dict[str, Any]:
        kept = worker.encodings
        return {
            "status": "ok",
            "version": __version__,
            "model": models.names[0],
            "waiting": worker.num_waiting,
            "done": worker.num_done,
            "encoded_images": len(kept),
            "encoded_mb": round(kept.num_bytes / 1e6, 1),
        }

    @app.get("/limits", summary="Limits of requests")
    async def show_limits() -> dict[str, int | float]:
        return limits.to_dict()

    return app


def _add_segment(app: Any, worker: Worker, limits: Limits, folder: Path) -> None:
    media = {kind: {} for kind, _ in RESPONSES.values()}

    @app.post("/segment", summary="Segment an image", responses={200: {"content": media}}, response_model=None)
    async def segment(
        request: Request,
        image: Annotated[UploadFile, fastapi.File(description="any format that Pillow reads; EXIF turns it upright")],
        categories: Annotated[
            str, fastapi.Form(description="separated by commas, synonyms by bars: dog|puppy,ball; or a line for each")
        ],
        stuff: Annotated[str, fastapi.Form(description="categories that are stuff, such as grass,sky")] = "",
        task: Annotated[Literal["panoptic", "instance", "semantic"], fastapi.Form()] = "panoptic",
        format: Annotated[Literal["coco", "coco-rle", "json", "labels", "overlay"], fastapi.Form()] = "coco",
        confidence_threshold: Annotated[float, fastapi.Form(ge=0, le=1, description="least score of a segment")] = 0.0,
        unknown_threshold: Annotated[
            float | None, fastapi.Form(ge=0, le=1, description="see the option of `masqclip demo`")
        ] = None,
        background_prompts: Annotated[
            bool, fastapi.Form(description="let other names compete, where the model has them")
        ] = True,
        masks: Annotated[
            list[UploadFile] | None,
            fastapi.File(description="masks to be labelled: PNG files, or one .npz or .json (docs/proposer)"),
        ] = None,
    ) -> Any:
        await _check_fields(request, set(inspect.signature(segment).parameters) - {"request"})
        vocabulary = check_categories(categories, stuff, limits)
        settings: dict[str, Any] = {
            "task": task,
            "confidence_threshold": confidence_threshold,
            "unknown_threshold": unknown_threshold,
            "background_prompts": None if background_prompts else (),
        }
        media_type, render = RESPONSES[format]
        with_masks = [one for one in masks or () if one.filename]
        own = Path(tempfile.mkdtemp(dir=folder))
        try:
            saved = await asyncio.to_thread(_save, [image, *with_masks], own)
            checked = await asyncio.to_thread(check_image, saved[0], limits)
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)
            raise
        job = Job(
            checked,
            checked.digest if not with_masks else object(),
            lambda model, encoded: render(model.predict(encoded, vocabulary, (), **settings), saved[0].shown_name),
            worker.models.names[0],
            masks=_reader(saved[1:], checked, limits),
        )
        job.future.add_done_callback(lambda done: shutil.rmtree(own, ignore_errors=True))
        try:
            future = worker.submit(job)
        except Refusal:
            job.future.cancel()
            raise
        content = await _result(future, request, lambda: worker.cancel(job))
        return fastapi.Response(content, media_type=media_type)


async def _check_fields(request: Any, known: set[str]) -> None:
    """Refuse what would be ignored: fields with other names, and a second value of a field that has one.

    Raises:
        Refusal: there are such fields.
    """
    names = [name for name, _ in (await request.form()).multi_items()]
    for name in names:
        if name not in known:
            raise Refusal(f"There is no field {name[:40]!r}; the fields are {', '.join(sorted(known))}.", 422)
        if name != "masks" and names.count(name) > 1:
            advice = "; separate names by commas" if name in ("categories", "stuff") else ""
            raise Refusal(f"The field {name} is there {names.count(name)} times, but has one value{advice}.", 422)


def _reader(masks: list[Upload], image: CheckedImage, limits: Limits) -> Callable[[], Any] | None:
    return (lambda: read_masks(masks, image, limits)) if masks else None


def _save(files: list[Any], folder: Path) -> list[Upload]:
    """Copy uploaded files, which Starlette removes with the request, into a folder."""
    saved = []
    for index, file in enumerate(files):
        path = folder / str(index)
        with path.open("wb") as target:
            shutil.copyfileobj(file.file, target)
        saved.append(Upload(path, file.filename or ""))
    return saved


async def _result(future: Future, request: Any, cancel: Callable[[], None]) -> Any:
    """The result of a job; a client that is gone takes its place in the queue with it.

    Raises:
        Refusal: the job failed.
    """
    waiting = asyncio.wrap_future(future)
    try:
        while not (await asyncio.wait([waiting], timeout=_POLL))[0]:
            if await request.is_disconnected():
                raise Refusal("The client has closed the connection.", 499)
        return waiting.result()
    except Refusal:
        raise
    except Exception as error:
        raise as_refusal(error) from error
    finally:
        if not future.done():
            cancel()


def _add_error_handlers(app: Any) -> None:
    def answer(status: int, message: str) -> Any:
        headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else None
        return fastapi.responses.JSONResponse({"error": message}, status, headers)

    async def refused(request: Any, error: Any) -> Any:
        return answer(error.status, str(error))

    async def invalid(request: Any, error: Any) -> Any:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "request"
        if first["type"] == "missing":
            hint = " the file" if where == "image" else " category names, such as 'cat,dog'"
            return answer(422, f"The field {where} is missing or empty; send{hint} in a form (multipart/form-data).")
        return answer(422, f"The field {where} is wrong: {first['msg']}.")

    async def http(request: Any, error: Any) -> Any:
        return answer(error.status_code, f"{str(error.detail).rstrip('.')}.")

    async def failed(request: Any, error: Any) -> Any:
        refusal = as_refusal(error)
        return answer(refusal.status, str(refusal))

    handlers: dict[Any, Callable[[Any, Any], Awaitable[Any]]] = {
        Refusal: refused,
        fastapi.exceptions.RequestValidationError: invalid,
        optional_package("starlette.exceptions").HTTPException: http,
        Exception: failed,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
