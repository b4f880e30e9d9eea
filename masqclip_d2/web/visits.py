"""What the page does for a visitor: checks the input, runs the model, and makes HTML and files of the result."""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hub import sha256_of
from ..results import Segmentation
from ..vocabulary import Vocabulary
from .drawn_masks import drawn_masks
from .overlay_html import result_html, short, table_html
from .refusals import Refusal, as_refusal
from .uploads import CheckedImage, Upload, check_categories, check_image, read_masks
from .worker import Job, Worker

FILES = ("json", "coco", "labels", "overlay")
"""Formats that can be downloaded."""

_MAX_CHECKED = 100  # images whose checks are remembered

MASK_SOURCES = ("found by the model", "drawn", "uploaded")


@dataclass(frozen=True)
class Request:
    """The fields of the page.

    Args:
        session: of the visitor; "" has none.
        image: the file; None: none was chosen.
        categories, stuff: chips.
        masks: one of `MASK_SOURCES`; drawn: layers of the drawing; uploaded: files of masks.
        others: see `Predictor.predict`.
    """

    session: str
    image: Upload | None
    categories: Sequence[str]
    stuff: Sequence[str] = ()
    model: str = ""
    task: str = "panoptic"
    confidence_threshold: float = 0.0
    background_prompts: bool = True
    unknown_threshold: float | None = None
    masks: str = MASK_SOURCES[0]
    drawn: Sequence[NDArray[np.uint8]] = ()
    uploaded: Sequence[Upload] = field(default_factory=tuple)


@dataclass(frozen=True)
class Found:
    """Result of a request.

    Args:
        result: the segments.
        html: the page's part with the result.
        name: of the image, for files.
    """

    result: Segmentation
    html: str
    name: str


class Visits:
    """The page's side of the worker.

    Args:
        worker: runs the networks.
        folder: in which files are written.
    """

    def __init__(self, worker: Worker, folder: Path) -> None:
        self._worker, self._folder = worker, folder
        self._checked: OrderedDict[Upload, CheckedImage] = OrderedDict()
        self._lock, self._num_saving, self._closed = threading.Lock(), 0, False

    def segment(self, request: Request) -> Found:
        """Segment an image.

        Raises:
            Refusal: the input is refused, or the model fails; one sentence.
        """
        image, vocabulary, job = self._job(request)
        try:
            result, coarse, probs = self._worker.submit(job).result()
        except Exception as error:
            raise as_refusal(error) from error
        notes = "" if probs is None else _mask_table(vocabulary, probs)
        return Found(result, result_html(result, coarse, notes), image.upload.shown_name)

    def is_encoded(self, request: Request) -> bool:
        """Whether other categories need no pass of the networks."""
        if request.image is None or not request.categories:
            return False
        try:
            _, _, job = self._job(request)
        except Refusal:
            return False
        return self._worker.encodings.has(job.session, job.encoding)

    def save(self, session: str, found: Found) -> list[Path]:
        """Files of a result, in the order of `FILES`; those of results before the last one are removed.

        Raises:
            Refusal: `close` was called.
        """
        with self._lock:
            if self._closed:
                raise Refusal("The server is stopping; try again later.", 503)
            self._num_saving += 1
        try:
            folder = self._of_session(session)
            earlier = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
            for path in earlier[:-1]:  # the page has the addresses of the last ones until it gets the new ones
                shutil.rmtree(path, ignore_errors=True)
            target = folder / secrets.token_hex(8)
            stem = re.sub(r"[^\w-]+", "_", Path(found.name).stem)[:60].strip("_") or "image"
            found.result.save(target, FILES, stem, found.name)
        finally:
            with self._lock:
                self._num_saving -= 1
        names = {"json": ".json", "coco": "_coco.json", "labels": "_labels.png", "overlay": ".png"}
        return [target / f"{stem}{names[one]}" for one in FILES]

    def close(self, timeout: float) -> None:
        """Write no more files, after those that are being written."""
        with self._lock:
            self._closed = True
        end = time.monotonic() + timeout
        while self._num_saving and time.monotonic() < end:
            time.sleep(0.02)

    def leave(self, session: str) -> None:
        """The visitor has closed the page: cancel what waits, drop encoded images, remove files."""
        self._worker.forget(session)
        shutil.rmtree(self._of_session(session), ignore_errors=True)

    def _of_session(self, session: str) -> Path:
        return self._folder / hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()[:24]

    def _job(self, request: Request) -> tuple[CheckedImage, Vocabulary, Job]:
        if request.image is None:
            raise Refusal("Choose an image first.")
        limits = self._worker.limits
        vocabulary = check_categories(chips(request.categories), chips(request.stuff), limits)
        model = request.model or self._worker.models.names[0]
        self._worker.models.check(model)
        image = self._check(request.image)
        key, masks = self._masks(request, image)
        settings: dict[str, Any] = {
            "task": request.task,
            "confidence_threshold": request.confidence_threshold,
            "background_prompts": None if request.background_prompts else (),
            "unknown_threshold": request.unknown_threshold,
        }

        def run(predictor: Any, encoded: Any) -> tuple[Segmentation, Segmentation | None, NDArray | None]:
            result = predictor.predict(encoded, vocabulary, (), **settings)
            coarse = None
            if encoded.coarse is not None:
                before = replace(encoded, proposals=encoded.coarse, coarse=None)
                coarse = predictor.predict(before, vocabulary, (), **settings)
            probs = None if masks is None else predictor.class_probs(encoded, vocabulary).cpu().numpy()
            return result, coarse, probs

        return image, vocabulary, Job(image, key, run, model, request.session, masks)

    def _check(self, upload: Upload) -> CheckedImage:
        """`check_image`, once per upload, whose file does not change: a PNG is decoded to read its orientation."""
        found = self._checked.pop(upload, None)
        if found is None or not upload.path.is_file():
            found = check_image(upload, self._worker.limits)
        self._checked[upload] = found
        while len(self._checked) > _MAX_CHECKED:
            self._checked.popitem(last=False)
        return found

    def _masks(self, request: Request, image: CheckedImage) -> tuple[Any, Any]:
        """Key of image and masks, and a function that reads the masks; None: those of the model."""
        if request.masks == MASK_SOURCES[0]:
            return image.digest, None
        if request.masks == MASK_SOURCES[1]:
            drawn = drawn_masks(request.drawn, (image.height, image.width))
            if not len(drawn):
                raise Refusal("Nothing is drawn yet; load the image into the drawing board, and paint over it.")
            return (image.digest, hashlib.sha256(np.packbits(drawn).tobytes()).hexdigest()), lambda: drawn
        if not request.uploaded:
            raise Refusal("Choose files with masks first.")
        digests = tuple(sha256_of(one.path) for one in request.uploaded)
        return (image.digest, digests), lambda: read_masks(request.uploaded, image, self._worker.limits)


def chips(texts: Sequence[str]) -> list[str]:
    """Names of chips, of which one may hold several names that were pasted."""
    return [name for text in texts or () for part in re.split(r"[,;\n]", str(text)) if (name := part.strip())]


def _mask_table(vocabulary: Vocabulary, probs: NDArray) -> str:
    rows = []
    for number, row in enumerate(probs, start=1):
        best = np.argsort(-row)[:3]
        rows.append([f"Mask {number}: {short(vocabulary.names[best[0]])}", *(f"{row[best[0]]:.0%}",)])
        rows[-1].append(", ".join(f"{short(vocabulary.names[index])} {row[index]:.0%}" for index in best[1:]))
    return table_html("Your masks", ["Mask and best category", "Probability", "Next"], rows)
