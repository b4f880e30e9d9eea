#!/usr/bin/env python
"""Latency and memory of a prediction against the number of categories.

    python benchmarks/vocabulary_size.py --plot docs/figures/vocabulary_size.png   # 10, 100, 1,000, 10,000 categories
    python benchmarks/vocabulary_size.py --model photos --side 800                 # another model, downloaded
    python benchmarks/vocabulary_size.py --categories 5 20 --side 64 --repeats 1

Per row, in a process of its own: CPU seconds (seconds on a GPU) to embed the names, which happens once, to encode the
image, which does not depend on them, and to predict each task from the encoded image; and the peak memory of embedding
and of predictions above what is in use before. Names are made up; the text cache is off.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image

from benchmarks.measuring import measured
from masqclip_d2 import Predictor, Vocabulary
from masqclip_d2.batch.inputs import SAMPLES
from masqclip_d2.meta_arch.tasks import TASK_NAMES

COLUMNS = ("embed names", "encode image", *TASK_NAMES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes", help="see `masqclip models`")
    parser.add_argument("--categories", type=int, nargs="+", default=[10, 100, 1000, 10_000], help="K, a row for each")
    parser.add_argument("--side", type=int, default=512, help="pixels of the image")
    parser.add_argument("--repeats", type=int, default=3, help="predictions of each task; the median counts")
    parser.add_argument("--plot", type=Path, default=None, help="PNG file to write")
    parser.add_argument("--row", action="store_true", help="measure in this process and print JSON")
    args = parser.parse_args()
    if args.row:
        print(json.dumps(row(args.model, args.categories[0], args.side, args.repeats)))
        return
    rows = {}
    options = ("--model", args.model, "--side", str(args.side), "--repeats", str(args.repeats), "--row")
    print(f"model {args.model}, {args.side} x {args.side} pixels, torch {torch.__version__}", flush=True)
    print(
        f"| categories | {' | '.join(COLUMNS)} | memory, names | memory, prediction |\n|{' --- |' * (len(COLUMNS) + 3)}"
    )
    for count in args.categories:
        words = [sys.executable, __file__, *options, "--categories", str(count)]
        environment = {**os.environ, "MASQCLIP_TEXT_CACHE": "off"}
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        rows[count] = json.loads(done.stdout.splitlines()[-1])
        print(table_row(count, rows[count]), flush=True)
    if args.plot is not None:
        draw(rows, args.plot)


def row(model: str, count: int, side: int, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds and peak bytes of each column."""
    predictor = Predictor.from_pretrained(model)
    device = predictor.model.device
    image = np.asarray(Image.open(SAMPLES / "shapes_1.png").convert("RGB").resize((side, side)))
    predictor.prepare("warm,up")
    predictor.encode(image)
    vocabulary = Vocabulary.from_names([f"category number {index}" for index in range(count)])
    seconds, memory = {}, {}
    _, seconds["embed names"], memory["embed names"] = timed(lambda: predictor.prepare(vocabulary), device)
    encoded, seconds["encode image"], memory["encode image"] = timed(lambda: predictor.encode(image), device)
    for task in TASK_NAMES:
        run = lambda task=task: predictor.predict(encoded, vocabulary, task=task)  # noqa: E731
        run()
        found = [timed(run, device)[1:] for _ in range(repeats)]
        seconds[task] = sorted(took for took, _ in found)[repeats // 2]
        memory[task] = max(peak for _, peak in found)
    return {"seconds": seconds, "memory": memory}


def timed(run, device):
    """Result, seconds (of the CPU where that computes, since other processes may be running) and peak bytes."""
    start = time.process_time()
    result, took, peak = measured(run, device)
    return result, time.process_time() - start if device.type == "cpu" else took, peak


def table_row(count: int, found: dict[str, dict[str, float]]) -> str:
    times = " | ".join(f"{found['seconds'][name]:.2f} s" for name in COLUMNS)
    memory = found["memory"]["embed names"], max(found["memory"][task] for task in TASK_NAMES)
    return f"| {count:,} | {times} | {' | '.join(f'{value / 1e6:.0f} MB' for value in memory)} |"


def draw(rows: dict[int, dict[str, dict[str, float]]], path: Path) -> None:
    """Two panels over the number of categories: seconds, and peak memory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from masqclip_d2.results.colors import PALETTE

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    panels_of = (
        ("seconds", 1.0, "seconds", COLUMNS),
        ("memory", 1e6, "peak memory in MB", ("embed names", *TASK_NAMES)),
    )
    for axes, (key, unit, label, names) in zip(panels, panels_of, strict=True):
        for name in names:
            color = [value / 255 for value in PALETTE[COLUMNS.index(name)]]
            values = [rows[count][key][name] / unit for count in rows]
            axes.plot(list(rows), values, "o-", color=color, label=name)
        axes.set(xscale="log", xlabel="categories", ylabel=label)
        axes.set_yscale("log" if key == "seconds" else "linear")
        axes.grid(alpha=0.3)
        axes.legend()
        if key == "memory":
            axes.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
