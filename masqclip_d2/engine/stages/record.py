"""What a stage's folder was made of, where and in how many minutes, so that numbers never mix two kinds of runs.

A record is a small JSON file beside the checkpoints or results. It holds sha256 sums of the settings with the data they
read, and of the weights to start from. Settings are what differs from the defaults, so that a new key of a later
version changes nothing, without what cannot change numbers (device, workers, folders).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checkpoint.reading import local_weights_path
from ...cli.run_stages import Stage, run
from ...config import get_masqclip_cfg, load_config
from ...files import save_text


def run_recorded(stage: Stage, num_gpus: int, where: str, data: Any) -> None:
    """Run a stage unless it is finished, and record it; results of other settings are made anew.

    Args:
        stage, num_gpus, where: see `run`.
        data: what identifies the data, as JSON can hold it.

    Raises:
        ValueError: the stage failed, or its folder holds a training with other settings.
    """
    made_of = _made_of(stage, data)
    record = read_record(stage)
    agrees = _agrees(record, made_of)
    if agrees and stage.is_finished():
        print(f"{where}: finished before, skipped.", flush=True)
        return
    if not agrees and stage.eval_only:
        stage.results.unlink(missing_ok=True)  # else they would pass for those of this record if we are broken off
    elif not agrees and (stage.output / "last_checkpoint").exists():
        raise ValueError(
            f"{stage.output} holds a training with other settings, other data or other weights to start from; remove "
            "that folder to train it anew, or choose another --output-root."
        )
    record = {"made_of": made_of, "minutes": record["minutes"] if agrees else 0.0, "device": _device(num_gpus)}
    _write(stage, record)
    start = time.monotonic()
    try:
        run(stage, num_gpus, where)
    finally:
        record["minutes"] = round(record["minutes"] + (time.monotonic() - start) / 60, 3)
        _write(stage, record)
    evaluation = stage.evaluation()
    if not stage.eval_only and evaluation.is_finished():  # training ends with the numbers
        _write(evaluation, {**record, "made_of": _made_of(evaluation, data), "minutes": 0.0})


def is_done(stage: Stage, data: Any) -> bool:
    """Whether the stage was run with these settings, to its end if it is an evaluation.

    What it starts from need not be there any more.
    """
    record = read_record(stage)
    if not record or (stage.eval_only and not stage.is_finished()):
        return False
    return _agrees(record, _made_of(stage, data))


def read_record(stage: Stage) -> dict[str, Any]:
    """Keys made_of, minutes (of all attempts that were not killed) and device; {} where there is no record."""
    path = _path(stage)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _path(stage: Stage) -> Path:
    return stage.output / ("evaluation_record.json" if stage.eval_only else "training_record.json")


def _write(stage: Stage, record: dict[str, Any]) -> None:
    save_text(_path(stage), json.dumps(record, indent=1) + "\n")


def _agrees(record: dict[str, Any], made_of: dict[str, str | None]) -> bool:
    recorded = record.get("made_of", {})
    return recorded.keys() == made_of.keys() and all(now in (None, recorded[key]) for key, now in made_of.items())


def _made_of(stage: Stage, data: Any) -> dict[str, str | None]:
    """sha256 of the settings with the data, and of each file of weights; None for a file that is not there."""
    cfg = load_config(stage.config, list(stage.opts))
    cfg.MODEL.DEVICE = cfg.OUTPUT_DIR = ""
    cfg.DATALOADER.NUM_WORKERS = cfg.SOLVER.CHECKPOINT_PERIOD = 0
    cfg.STAGES = []
    weights = {"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS, "CLIP.NAME": cfg.MODEL.MASQCLIP.CLIP.NAME}
    cfg.MODEL.WEIGHTS = cfg.MODEL.MASQCLIP.CLIP.NAME = ""
    settings = json.dumps([_changed(cfg, get_masqclip_cfg()), data], sort_keys=True)
    return {"settings": hashlib.sha256(settings.encode()).hexdigest(), **{k: _content(v) for k, v in weights.items()}}


def _changed(cfg: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a configuration that are not as by default."""
    return {
        key: _changed(value, defaults[key]) if isinstance(value, Mapping) else value
        for key, value in cfg.items()
        if value != defaults[key]
    }


def _content(weights: str) -> str | None:
    """sha256 of a file of weights; the name itself where it is none of ours to look into; None if it is missing."""
    is_file = weights.endswith((".pth", ".safetensors")) or weights.startswith("masqclip://")
    if not is_file or "://" in weights.removeprefix("masqclip://"):
        return weights
    try:
        return hashlib.sha256(local_weights_path(weights).read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _device(num_gpus: int) -> str:
    """What the stage runs on, for the reader."""
    import torch

    if num_gpus and torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        name = torch.get_device_module(device).get_device_name()
        return f"{num_gpus} x {name}"
    return f"CPU, {os.cpu_count()} cores"
