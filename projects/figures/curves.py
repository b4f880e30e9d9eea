"""Training curves from the metrics.json that each stage writes into its folder."""

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
_TEXT = 21  # points; a README shows the figure at about half its size
_WINDOW = 5  # entries of metrics.json that the thick line averages over


def draw_training_curves(stages: Mapping[str, Mapping[str, Path]], path: Path, number: str = "total_loss") -> None:
    """One diagram per stage.

    Args:
        stages: title -> name of each run in it -> its metrics.json.
        path: PNG to write.
        number: which number of metrics.json.

    Raises:
        ValueError: a file has no such number.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(stages) // _COLUMNS)
    figure = Figure(figsize=(SHEET_WIDTH / _DPI, _PANEL_HEIGHT * rows), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.get_layout_engine().set(h_pad=0.15, w_pad=0.15)  # inches
    for position, (title, runs) in enumerate(stages.items(), start=1):
        axes = figure.add_subplot(rows, _COLUMNS, position)
        for name, metrics in runs.items():
            iterations, values = read_metrics(metrics, number)
            (line,) = axes.plot(iterations, values, alpha=0.3, linewidth=1.5)
            axes.plot(iterations, _averaged(values), color=line.get_color(), linewidth=3, label=name)
        axes.set_title(title, fontsize=_TEXT)
        axes.set_xlabel("step", fontsize=_TEXT)
        axes.set_ylabel(number.replace("_", " "), fontsize=_TEXT)
        axes.tick_params(labelsize=_TEXT - 3)
        axes.grid(alpha=0.3)
        if len(runs) > 1:
            axes.legend(fontsize=_TEXT - 3)
    canvas.draw()
    write_png(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]), path)


def read_metrics(path: Path, number: str) -> tuple[list[int], list[float]]:
    """Iterations and values of one number, in order.

    Where a run was broken off and resumed, an iteration may be there twice; the later counts. A line that was being
    written when the run was killed is left out.

    Raises:
        ValueError: the file has no such number.
    """
    found: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if number in entry:
            found[entry["iteration"]] = entry[number]
    if not found:
        raise ValueError(f"{path} has no {number!r}.")
    iterations = sorted(found)
    return iterations, [found[iteration] for iteration in iterations]


def _averaged(values: Sequence[float]) -> np.ndarray:
    """Mean over a window around each value, which is cut at both ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centres = np.arange(len(values))
    low, high = np.maximum(centres - _WINDOW // 2, 0), np.minimum(centres + _WINDOW // 2 + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
