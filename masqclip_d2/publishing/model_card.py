"""The README.md of a published model, from its configuration, licence and metrics."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..checkpoint.conversion import clip_names
from ..json_data import read_json
from .model_folder import has_published_clip

MetricsInput = Mapping[str, Mapping[str, Mapping[str, float | None]]] | str | Path | None
"""{dataset: {task: {metric: value}}}, or the results.json of an evaluation."""

_CARD = """---
license: {license}
library_name: masqclip_d2
pipeline_tag: image-segmentation
tags:
- open-vocabulary
- image-segmentation
- detectron2
---

# {title}

Open-vocabulary segmentation: an image and any category names give semantic, instance and panoptic masks. Written by
masqclip_d2 {version}, which loads it.

```python
from masqclip_d2 import Predictor

predictor = Predictor.from_pretrained({source})
result = predictor("photo.jpg", "cat,dog", stuff="grass,sky")
```

## Parts

| part | value |
| --- | --- |
{parts}

## Training

{training}

## Metrics

{metrics}

## Licence

This file's weights: {license}. A CLIP that is loaded by name has its own licence; so have the images it was trained on.
"""


def model_card(cfg, model: nn.Module, license: str, name: str = "", metrics: MetricsInput = None) -> str:
    """Text of a model card in Markdown, with the header that the Hugging Face Hub reads.

    Args:
        cfg: the configuration of the model.
        model: for its number of parameters.
        license: an identifier such as "apache-2.0" or "cc-by-nc-4.0".
        name: "owner/name" on the hub; "": the folder is loaded by its path.
        metrics: see `MetricsInput`; None: the card says that none were given.

    Raises:
        ValueError: `license` is no identifier, or `metrics` are no numbers by dataset, task and metric.
        FileNotFoundError: there is no such results.json.
    """
    from .. import __version__

    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise ValueError(f"license is {license!r}; expected an identifier such as apache-2.0 or cc-by-nc-4.0.")
    return _CARD.format(
        license=license,
        title=_escaped(name or cfg.MODEL.META_ARCHITECTURE),
        version=__version__,
        source=json.dumps(f"hf://{name}") if name else '"path/of/this/folder"',
        parts="\n".join(f"| {part} | {_escaped(value)} |" for part, value in _parts(cfg, model)),
        training=_training(cfg),
        metrics=_metrics_table(_read_metrics(metrics)),
    )


def _parts(cfg, model: nn.Module) -> Iterator[tuple[str, str]]:
    ours = cfg.MODEL.MASQCLIP
    state = model.state_dict()
    own = set(state) - clip_names(model, state)
    yield "meta-architecture", cfg.MODEL.META_ARCHITECTURE
    yield "proposals", ours.PROPOSER.SOURCE
    if ours.CLIP.NAME:
        yield "CLIP", ours.CLIP.NAME if has_published_clip(cfg) else "in this folder"
    yield "numbers in model.safetensors", f"{sum(state[each].numel() for each in own):,}"


def _training(cfg) -> str:
    sets = ", ".join(cfg.DATASETS.TRAIN)
    if not sets:
        return "Not known: the configuration names no training set."
    solver = cfg.SOLVER
    return (
        f"Configuration of the last stage: {_escaped(sets)}; {solver.MAX_ITER} iterations of "
        f"{solver.IMS_PER_BATCH} images, learning rate {solver.BASE_LR:g}."
    )


def _read_metrics(metrics: MetricsInput) -> Mapping[str, Any]:
    if isinstance(metrics, str | Path):
        content = read_json(Path(metrics))
        metrics = content.get("results") if isinstance(content, Mapping) else None
        if metrics is None:
            raise ValueError("The metrics' file is no results.json of an evaluation: it has no entry 'results'.")
    return metrics or {}


def _metrics_table(metrics: Mapping[str, Any]) -> str:
    lines = ["| dataset | task | metric | value |", "| --- | --- | --- | --- |"]
    for dataset, tasks in metrics.items():
        for task, values in _mapping(tasks, dataset).items():
            for metric, value in _mapping(values, f"{dataset}, {task}").items():
                if isinstance(value, bool) or not isinstance(value, int | float | None):
                    raise ValueError(f"Metric {metric!r} of {dataset}, {task} is no number: {value!r}.")
                if value is not None and math.isfinite(value):
                    lines.append(f"| {_escaped(dataset)} | {_escaped(task)} | {_escaped(metric)} | {value:.2f} |")
    return "\n".join(lines) if len(lines) > 2 else "None were given."


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"Metrics of {where} are {type(value).__name__}; expected {{name: value}}.")
    return value


def _escaped(text: str) -> str:
    """As one cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")
