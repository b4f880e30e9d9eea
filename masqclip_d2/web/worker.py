"""One thread that runs the networks, for all requests: those that wait are encoded together, in order of arrival."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..structures import EncodedImage
from .encodings import Encodings
from .limits import Limits
from .models import Models, no_text_cache
from .refusals import Refusal
from .uploads import CheckedImage

if TYPE_CHECKING:
    from ..predictor import Predictor


@dataclass(frozen=True, eq=False)
class Job:
    """An image, and what is to be done with it.

    Args:
        image: that `uploads` has checked.
        key: equal for equal images and masks.
        run: is called in the worker with the predictor and the encoded image; its result is that of the job.
        model: a name of `Models`.
        session: of the page's visitor; "": the encoded image is shared by all.
        masks: returns masks of one's own, see `Predictor.encode`; None: those of the model.
    """

    image: CheckedImage
    key: Hashable
    run: Callable[[Predictor, EncodedImage], Any]
    model: str
    session: str = ""
    masks: Callable[[], Any] | None = None
    future: Future = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)

    @property
    def encoding(self) -> Hashable:
        """Key of the encoded image."""
        return self.model, self.key


class Worker:
    """Runs jobs until it is stopped.

    Args:
        models, limits: see there.
    """

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.encodings = Encodings(int(limits.cache_mb * 1e6), limits.images_per_session)
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self.num_done = 0
        self._running = False
        self._thread = threading.Thread(target=self._loop, name="masqclip-worker", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Jobs that have not begun."""
        return len(self._waiting)

    @property
    def is_busy(self) -> bool:
        """Whether a job runs or waits."""
        return self._running or bool(self._waiting)

    def submit(self, job: Job) -> Future:
        """Let a job wait for its turn.

        Raises:
            Refusal: the queue is full, or the worker is stopping.
        """
        with self._changed:
            if self._stopped:
                raise Refusal("The server is stopping; try again later.", 503)
            size = sum(each.image.size for each in self._waiting)
            if len(self._waiting) >= self.limits.queue or size + job.image.size > self.limits.queue_mb * 1e6:
                raise Refusal(f"The server is busy: {len(self._waiting)} requests wait; try again later.", 503)
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def forget(self, session: str) -> None:
        """Cancel what waits for a session, and drop its encoded images."""
        for job in [each for each in self._waiting.copy() if each.session == session]:
            self.cancel(job)
        self.encodings.forget(session)

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue; one that has begun is finished, but its result is not used."""
        job.future.cancel()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)

    def stop(self, timeout: float | None = None) -> None:
        """Accept no more jobs, and wait until those that were accepted are finished."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout)

    def _loop(self) -> None:
        while (batch := self._next_batch()) is not None:
            jobs = [job for job in batch if self._begin(job)]
            if jobs:
                try:
                    self._run(jobs)
                except Exception as error:  # of any kind: the worker goes on, and nobody waits in vain
                    for job in jobs:
                        if not job.future.done():
                            job.future.set_exception(error)
            self._running = False

    def _next_batch(self) -> list[Job] | None:
        """Waiting jobs of one model, in order of arrival; None after `stop` when none waits."""
        with self._changed:
            while not self._waiting:
                if self._stopped:
                    return None
                self._changed.wait()
            self._running = True
            batch = [self._waiting.popleft()]
            for job in list(self._waiting):
                megapixels = sum(each.image.megapixels for each in batch) + job.image.megapixels
                if len(batch) == self.limits.batch or megapixels > self.limits.batch_megapixels:
                    break
                if job.model == batch[0].model:
                    self._waiting.remove(job)
                    batch.append(job)
        return batch

    def _begin(self, job: Job) -> bool:
        """Whether a job is to be run: not one that was cancelled, or that has waited for too long."""
        if not job.future.set_running_or_notify_cancel():
            return False
        if time.monotonic() - job.arrived > self.limits.wait_s:
            job.future.set_exception(Refusal(f"The server is busy: {self.limits.wait_s:g} s were too short.", 503))
            return False
        return True

    def _run(self, jobs: Sequence[Job]) -> None:
        try:
            predictor = self.models.get(jobs[0].model)
        except Exception as error:  # of loading: the worker goes on
            for job in jobs:
                job.future.set_exception(error)
            return
        with no_text_cache():
            encoded = self._encoded(predictor, jobs)
            for job in jobs:
                found = encoded[job.session, job.encoding]
                try:
                    if isinstance(found, Exception):
                        raise found
                    result = job.run(predictor, found)
                except Exception as error:
                    job.future.set_exception(error)
                else:
                    job.future.set_result(result)
                self.num_done += 1

    def _encoded(
        self, predictor: Predictor, jobs: Sequence[Job]
    ) -> dict[tuple[str, Hashable], EncodedImage | Exception]:
        """The encoded image of each job, or what was raised; equal images are encoded once."""
        found: dict[tuple[str, Hashable], EncodedImage | Exception] = {}
        missing: dict[tuple[str, Hashable], Job] = {}
        for job in jobs:
            kept = self.encodings.get(job.session, job.encoding)
            if kept is not None:
                found[job.session, job.encoding] = kept
            else:
                missing.setdefault((job.session, job.encoding), job)
        together = {key: job for key, job in missing.items() if job.masks is None}
        found |= _encode_together(predictor, together)
        for key, job in missing.items():
            if key not in found:
                found[key] = _encode_alone(predictor, job)
            one = found[key]
            if not isinstance(one, Exception):
                self.encodings.put(*key, one)
        return found


def _encode_together(
    predictor: Predictor, jobs: dict[tuple[str, Hashable], Job]
) -> dict[tuple[str, Hashable], EncodedImage | Exception]:
    """Images in common passes; none if that fails, as one of them may be damaged."""
    if len(jobs) < 2:
        return {}
    try:
        encoded = predictor.encode([job.image.path for job in jobs.values()])
    except (ValueError, OSError, RuntimeError, MemoryError):
        return {}
    return dict(zip(jobs, encoded, strict=True))


def _encode_alone(predictor: Predictor, job: Job) -> EncodedImage | Exception:
    try:
        return predictor.encode(job.image.path, None if job.masks is None else job.masks())
    except Refusal as error:
        return error
    except (ValueError, OSError) as error:
        return job.image.upload.refusal(error, 422)
    except Exception as error:  # passed to the request
        return error
