"""Training curves from the metrics.json of each stage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from projects.figures.drawing import SHEET_WIDTH, write_png

_DPI = 100
_COLUMNS = 2
_PANEL_HEIGHT = 4.6  # inches
_TEXT = 21  # points; a README shows the figure at about half this size
_WINDOW = 5  # entries of metrics.json per average of the thick line


def draw_training_curves(stages: Mapping[str, Mapping[str, Path]], path: Path, metric: str = "total_loss") -> None:
    """Draw one diagram per stage.

    Args:
        stages: title -> name of each run -> its metrics.json.
        path: PNG to write.
        metric: key of metrics.json.

    Raises:
        ValueError: a file does not have it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = -(-len(stages) // _COLUMNS)
    figure = Figure(
        figsize=(SHEET_WIDTH / _DPI, _PANEL_HEIGHT * rows),
        dpi=_DPI,
        layout=ConstrainedLayoutEngine(h_pad=0.15, w_pad=0.15),
    )  # pads in inches
    canvas = FigureCanvasAgg(figure)
    for position, (title, runs) in enumerate(stages.items(), start=1):
        axes = figure.add_subplot(rows, _COLUMNS, position)
        for name, metrics in runs.items():
            iterations, values = read_metrics(metrics, metric)
            (line,) = axes.plot(iterations, values, alpha=0.3, linewidth=1.5)
            axes.plot(iterations, _averaged(values), color=line.get_color(), linewidth=3, label=name)
        axes.set_title(title, fontsize=_TEXT)
        axes.set_xlabel("step", fontsize=_TEXT)
        axes.set_ylabel(metric.replace("_", " "), fontsize=_TEXT)
        axes.tick_params(labelsize=_TEXT - 3)
        axes.grid(alpha=0.3)
        if len(runs) > 1:
            axes.legend(fontsize=_TEXT - 3)
    canvas.draw()
    write_png(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]), path)


def read_metrics(path: Path, metric: str) -> tuple[list[int], list[float]]:
    """Iterations and values of one metric, in order of iterations.

    If a run was interrupted and resumed, an iteration can occur twice; the later entry is used. Incomplete lines, of a
    killed run, are skipped.

    Raises:
        ValueError: the file does not have the metric.
    """
    found: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if metric in entry:
            found[entry["iteration"]] = entry[metric]
    if not found:
        raise ValueError(f"{path} has no {metric!r}.")
    iterations = sorted(found)
    return iterations, [found[iteration] for iteration in iterations]


def _averaged(values: Sequence[float]) -> np.ndarray:
    """Mean over a window around each value, clipped at both ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centers = np.arange(len(values))
    low, high = np.maximum(centers - _WINDOW // 2, 0), np.minimum(centers + _WINDOW // 2 + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
