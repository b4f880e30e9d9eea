"""Record the inputs, device and duration of each stage, so that results of different runs are never mixed.

A record is a small JSON file beside the checkpoints or results. It holds sha256 sums of the settings together with the
data, and of the initial weights. Only settings that differ from the defaults count, so that a key that a later version
adds changes nothing; settings that cannot change metrics (device, workers, folders) are left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checkpoint.checkpointer import resumable_checkpoints
from ...checkpoint.reading import local_weights_path
from ...config import get_masqclip_cfg, load_config
from ...files import save_text
from ...hub import sha256_of
from .plan import Stage
from .run import print_skipped, run_stage


def run_recorded(stage: Stage, num_gpus: int, label: str, data: Any) -> None:
    """Run a stage unless it is finished, and record it; an evaluation with other settings is repeated.

    Args:
        stage, num_gpus, label: see `run_stage`.
        data: what identifies the data; serializable as JSON.

    Raises:
        ValueError: the stage failed, or its folder holds a training with other settings.
    """
    inputs = _inputs(stage, data)
    record = read_record(stage)
    agrees = _agrees(record, inputs)
    if agrees and stage.is_finished():
        print_skipped(label)
        return
    if not agrees and stage.eval_only:
        stage.results.unlink(missing_ok=True)  # if this run is interrupted, they must not count as its results
    elif not agrees and resumable_checkpoints(stage.output):
        raise ValueError(
            f"{stage.output} holds a training with other settings, other data or other initial weights; remove "
            "that folder to train again, or choose another --output-root."
        )
    record = {"made_of": inputs, "minutes": record["minutes"] if agrees else 0.0, "device": _device(num_gpus)}
    _write(stage, record)
    start = time.monotonic()
    try:
        run_stage(stage, num_gpus, label)
    finally:
        record["minutes"] = round(record["minutes"] + (time.monotonic() - start) / 60, 3)
        _write(stage, record)
    evaluation = stage.evaluation()
    if not stage.eval_only and evaluation.is_finished():  # training ends with an evaluation
        _write(evaluation, {**record, "made_of": _inputs(evaluation, data), "minutes": 0.0})


def is_recorded(stage: Stage, data: Any) -> bool:
    """Whether the stage was run with these settings, and is finished if it is an evaluation.

    The initial weights need not exist any more.
    """
    record = read_record(stage)
    if not record or (stage.eval_only and not stage.is_finished()):
        return False
    return _agrees(record, _inputs(stage, data))


def read_record(stage: Stage) -> dict[str, Any]:
    """Keys made_of (sha256 of the inputs), minutes (of all attempts that were not killed) and device; {} if none."""
    path = _path(stage)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _path(stage: Stage) -> Path:
    return stage.output / ("evaluation_record.json" if stage.eval_only else "training_record.json")


def _write(stage: Stage, record: dict[str, Any]) -> None:
    save_text(_path(stage), json.dumps(record, indent=1) + "\n")


def _agrees(record: dict[str, Any], inputs: dict[str, str | None]) -> bool:
    recorded = record.get("made_of", {})
    return recorded.keys() == inputs.keys() and all(now in (None, recorded[key]) for key, now in inputs.items())


def _inputs(stage: Stage, data: Any) -> dict[str, str | None]:
    """sha256 of the settings with the data, and of each weight file; None for a file that does not exist."""
    cfg = load_config(stage.config, list(stage.opts))
    cfg.MODEL.DEVICE = cfg.OUTPUT_DIR = ""
    cfg.DATALOADER.NUM_WORKERS = cfg.SOLVER.CHECKPOINT_PERIOD = 0
    cfg.STAGES = []
    weights = {"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS, "CLIP.NAME": cfg.MODEL.MASQCLIP.CLIP.NAME}
    cfg.MODEL.WEIGHTS = cfg.MODEL.MASQCLIP.CLIP.NAME = ""
    settings = json.dumps([_changed(cfg, get_masqclip_cfg()), data], sort_keys=True)
    return {"settings": hashlib.sha256(settings.encode()).hexdigest(), **{k: _content(v) for k, v in weights.items()}}


def _changed(cfg: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a configuration that differ from the defaults."""
    return {
        key: _changed(value, defaults[key]) if isinstance(value, Mapping) else value
        for key, value in cfg.items()
        if value != defaults[key]
    }


def _content(weights: str) -> str | None:
    """sha256 of a local or shipped weight file, None if it is missing; any other name (URL, published CLIP) itself."""
    is_file = weights.endswith((".pth", ".safetensors")) or weights.startswith("masqclip://")
    if not is_file or "://" in weights.removeprefix("masqclip://"):
        return weights
    try:
        return sha256_of(Path(local_weights_path(weights)))
    except FileNotFoundError:
        return None


def _device(num_gpus: int) -> str:
    """Description of the device that the stage runs on."""
    import torch

    device = torch.accelerator.current_accelerator() if num_gpus and torch.accelerator.is_available() else None
    if device is not None:
        return f"{num_gpus} x {torch.get_device_module(device).get_device_name()}"
    return f"CPU, {os.cpu_count()} cores"
