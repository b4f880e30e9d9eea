"""A run: images -> shards -> workers on Ray Data -> what is finished, and what failed."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..batch.progress import Progress
from ..batch.record import RunRecord
from ..engine.output_lock import output_lock
from ..files import atomic_write, save_json
from ..optional_packages import optional_package
from ..predictor import Predictor
from ..results.saving import make_writable
from .shards import Failure, Shard, finished_shards, plan_shards, remove_unfinished
from .sources import ImageSource
from .worker import Job, Worker

FAILED = "failed.jsonl"
MANIFEST = "manifest.json"

_OBJECT_STORE = 500_000_000  # bytes; images never lie in it, only the names of those that are left
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}


def label_images(
    load_predictor: Callable[[], Predictor],
    job: Job,
    images: Sequence[ImageSource],
    recorded: Mapping[str, Any],
    num_workers: int | None = None,
    shard_size: int | None = None,
) -> None:
    """Label the images without results in the output folder.

    Args:
        load_predictor: builds the model in each worker.
        job: what is done with every image.
        images: see `find_sources`.
        recorded: plain data that results depend on; a folder with results of others is refused.
        num_workers: processes; None: one per GPU, or a single one.
        shard_size: see `plan_shards`.

    Raises:
        ValueError: the output folder cannot be used; or at the end, if images failed.
        ValueError, RuntimeError: an error that would meet all images; finished shards stay.
    """
    output = job.output
    make_writable(output)
    with output_lock(output, "--output", "labelling run"):
        record = RunRecord(output)
        record.require_same(recorded, "Pass the same settings, or another --output.")
        record.begin(recorded, [], resume=True)
        with _ray(num_workers) as ray:
            # After the start, as workers of a run that was just killed live for some seconds and may finish a shard.
            remove_unfinished(output)
            done, failed = _state(output)
            workers = num_workers or int(ray.cluster_resources().get("GPU", 0)) or 1
            shards = plan_shards(images, done, set(failed), shard_size, workers)
            left = sum(len(shard.images) for shard in shards)
            print(f"{len(images)} images, {len(images) - left} have results already; {len(shards)} shards to do.")
            if shards:
                _run_shards(ray, load_predictor, job, shards, workers)
        remove_unfinished(output)
        _report(output, images)


def _state(output: Path) -> tuple[set[str], dict[str, Failure]]:
    """Locations of images with results, and failures of the others."""
    done: set[str] = set()
    failed: dict[str, Failure] = {}
    for shard in finished_shards(output):
        done.update(shard.done)
        failed.update((one.location, one) for one in shard.failed)
    return done, {location: one for location, one in failed.items() if location not in done}


@contextmanager
def _ray(num_workers: int | None) -> Iterator[Any]:
    """Ray: the cluster of RAY_ADDRESS, or a local one of this process."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    ray = optional_package("ray")
    if ray.is_initialized():
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        cpus = max(num_workers or 1, os.cpu_count() or 1)
        ray.init("local", num_cpus=cpus, include_dashboard=False, object_store_memory=_OBJECT_STORE, **quiet)
    try:
        yield ray
    finally:
        ray.shutdown()


def _run_shards(
    ray: Any, load_predictor: Callable[[], Predictor], job: Job, shards: Sequence[Shard], num_workers: int
) -> None:
    """Label shards; Ray Data restarts workers that are killed, and repeats their shards.

    Raises:
        ValueError: a worker reports an error that would meet all images.
        RuntimeError: there is a bug, with the worker's traceback.
    """
    data = optional_package("ray.data")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    gpus = ray.cluster_resources().get("GPU", 0)
    rows = data.from_items([{"shard": shard.to_json()} for shard in shards], override_num_blocks=len(shards))
    results = rows.map(
        Worker,
        fn_constructor_args=(load_predictor, job),
        compute=data.ActorPoolStrategy(size=min(num_workers, len(shards)), max_tasks_in_flight_per_actor=2),
        num_cpus=1,
        num_gpus=1 / math.ceil(num_workers / gpus) if gpus else 0,
    )
    with Progress(sum(len(shard.images) for shard in shards)) as progress:
        try:
            for row in results.iter_rows():
                if row["error"]:
                    raise (RuntimeError if row["is_bug"] else ValueError)(row["error"])
                progress.advance(row["done"] + row["failed"])
        except KeyboardInterrupt:
            progress.clear()
            done, _ = _state(job.output)
            print(f"{len(done)} images have results; the same command continues.", file=sys.stderr)
            raise


def _report(output: Path, images: Sequence[ImageSource]) -> None:
    """Write manifest and failures, and print a line.

    Raises:
        ValueError: images failed, or have no result.
    """
    done, failed = _state(output)
    rows = [{"name": one.name, "images": len(one.done), "failed": len(one.failed)} for one in finished_shards(output)]
    save_json(output / MANIFEST, {"images": len(done), "failed": len(failed), "shards": rows}, indent=1)
    with atomic_write(output / FAILED) as temporary, temporary.open("w", encoding="utf-8") as file:
        for one in failed.values():
            file.write(f"{json.dumps(asdict(one))}\n")
    print(f"{output}: {len(done)} images in {len(rows)} shards")
    missing = [image.location for image in images if image.location not in done and image.location not in failed]
    if missing:
        raise RuntimeError(f"{len(missing)} images have no result, such as {missing[0]}; run the same command again.")
    if failed:
        first = next(iter(failed.values()))
        raise ValueError(
            f"{len(failed)} of {len(done) + len(failed)} images failed, such as {first.location} ({first.reason}); all "
            f"are listed in {output / FAILED}. The others are done; the same command tries these again."
        )
