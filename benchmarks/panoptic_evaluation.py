#!/usr/bin/env python
"""Panoptic quality: this package's evaluation against a plain one and, optionally, against panopticapi.

    python benchmarks/panoptic_evaluation.py                              # 200 images of 640 x 640, 50 segments each
    python benchmarks/panoptic_evaluation.py --panopticapi ~/panopticapi  # a checkout of cocodataset/panopticapi
    python benchmarks/panoptic_evaluation.py --images 8 --side 64 --segments 10

Annotations are areas around random points, some of them void or a crowd; predictions have moved points and some wrong
categories. Columns:
    counting     both maps in memory
    model        the prediction in memory, the ground truth from a PNG, as in an evaluation
    folders      both from PNGs
    processes    both from PNGs, by several processes
Rows, alternating in one process: "ours", this package; "plain", the rules pair by pair; "published", panopticapi, which
reads folders, so that Detectron2 first writes predictions as PNGs (for "counting" its reads are replaced). Prints the
median CPU time per image (wall time for several processes), ratios, and the largest difference of any PQ, SQ or RQ to
"plain" and to tests/golden/pq_A.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from masqclip_d2.data.label_maps import id2rgb, read_panoptic_png
from masqclip_d2.evaluation.panoptic_quality import PanopticQuality, panoptic_quality_of_folders
from tests.check_golden import check_panoptic_quality

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "pq_A"
NUM_CATEGORIES = 133  # as COCO has, 80 of them things
NUM_THINGS = 80
SOURCES = ("counting", "model", "folders", "processes")
IMPLEMENTATIONS = ("ours", "plain", "published")
GROUPS = {"All": (0, 1), "Things": (1,), "Stuff": (0,)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=640, help="pixels")
    parser.add_argument("--segments", type=int, default=50, help="ground truth segments per image")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of the last column")
    parser.add_argument("--panopticapi", type=Path, help="folder with panopticapi/evaluation.py")
    args = parser.parse_args()
    if args.panopticapi and not (args.panopticapi / "panopticapi" / "evaluation.py").is_file():
        parser.error(
            f"--panopticapi: {args.panopticapi} has no panopticapi/evaluation.py; expected a checkout of panopticapi"
        )
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder))
        write_images(files, args.images, args.side, args.segments)
        seconds, results = time_rows(rows_of(files, args), args.repeats)
    print(f"{args.images} images of {args.side} x {args.side} pixels, {args.segments} segments; numpy {np.__version__}")
    print(f"{'ms per image':12}" + "".join(f"{source:>16}" for source in SOURCES))
    for name in IMPLEMENTATIONS:
        cells = [seconds.get((name, source)) for source in SOURCES]
        print(f"{name:12}" + "".join(f"{1000 * cell / args.images:16.2f}" if cell else " " * 16 for cell in cells))
    for source in SOURCES:
        for name in IMPLEMENTATIONS[1:]:
            if (name, source) in seconds:
                ratio = seconds[name, source] / seconds["ours", source]
                print(f"{source}: {name} takes {ratio:.1f} times as long as ours")
    largest = max(difference(result, results["plain", "counting"]) for result in results.values())
    print(f"largest difference of any PQ, SQ, RQ to the plain rules: {largest:.1e}")
    golden = max(row.error for row in check_panoptic_quality(GOLDEN))
    print(f"largest difference of ours to tests/golden/pq_A: {golden:.1e}")


class Files:
    """Folders of the synthetic images."""

    def __init__(self, folder: Path):
        self.gt_json, self.pred_json = folder / "gt.json", folder / "pred.json"
        self.gt_dir, self.pred_dir = folder / "gt", folder / "pred"
        self.gt_dir.mkdir()
        self.pred_dir.mkdir()

    @property
    def all(self):
        return self.gt_json, self.gt_dir, self.pred_json, self.pred_dir


def write_images(files: Files, num_images: int, side: int, num_segments: int) -> None:
    """Ground truth and predictions in COCO panoptic format."""
    rng = np.random.default_rng(0)
    pixels = np.stack(np.mgrid[:side, :side], axis=-1).reshape(-1, 2)
    annotations = {"gt": [], "pred": []}
    for image in range(num_images):
        points = rng.uniform(0, side, (num_segments, 2))
        categories = rng.integers(0, NUM_CATEGORIES, num_segments)
        wrong = np.where(rng.random(num_segments) < 0.3, rng.integers(0, NUM_CATEGORIES, num_segments), categories)
        moved = points + rng.normal(0, side / 80, points.shape)
        # The first area of the ground truth is void, the second a crowd; the third of the prediction is void.
        for name, where, labels, void in (("gt", points, categories, 0), ("pred", moved, wrong, 2)):
            ids = rng.choice(2**24 - 1, num_segments, replace=False) + 1  # uses all three channels of the PNG
            ids[void] = 0
            segment_map = ids[nearest(pixels, where)].reshape(side, side)
            Image.fromarray(id2rgb(segment_map)).save(getattr(files, f"{name}_dir") / f"{image}.png")
            present, areas = np.unique(segment_map, return_counts=True)
            area = dict(zip(present.tolist(), areas.tolist(), strict=True))
            segments = [
                {"id": int(i), "category_id": int(label), "area": area[i], "iscrowd": int(name == "gt" and index == 1)}
                for index, (i, label) in enumerate(zip(ids.tolist(), labels, strict=True))
                if i in area and index != void
            ]
            annotations[name].append({"image_id": image, "file_name": f"{image}.png", "segments_info": segments})
    categories = [{"id": i, "name": str(i), "isthing": int(i < NUM_THINGS)} for i in range(NUM_CATEGORIES)]
    images = [{"id": image} for image in range(num_images)]
    for name, content in annotations.items():
        whole = {"images": images, "annotations": content, "categories": categories}
        getattr(files, f"{name}_json").write_text(json.dumps(whole))


def nearest(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    return cKDTree(points).query(pixels)[1]


def rows_of(files: Files, args) -> dict:
    """(implementation, source) -> function that evaluates all images and returns {group: {pq, sq, rq}}."""
    gt, pred = (json.loads(path.read_text())["annotations"] for path in (files.gt_json, files.pred_json))
    gt_maps, pred_maps = (
        [read_panoptic_png(folder / a["file_name"]) for a in annotations]
        for folder, annotations in ((files.gt_dir, gt), (files.pred_dir, pred))
    )
    from_disk = {
        "counting": (gt_maps.__getitem__, pred_maps.__getitem__),
        "model": (lambda i: read_panoptic_png(files.gt_dir / gt[i]["file_name"]), pred_maps.__getitem__),
        "folders": tuple(
            lambda i, f=folder, a=annotations: read_panoptic_png(f / a[i]["file_name"])
            for folder, annotations in ((files.gt_dir, gt), (files.pred_dir, pred))
        ),
    }

    def row(count, source):
        gt_map_of, pred_map_of = from_disk[source]

        def run():
            quality = PanopticQuality(range(NUM_CATEGORIES))
            for i, (g, p) in enumerate(zip(gt, pred, strict=True)):
                count(quality, gt_map_of(i), g["segments_info"], pred_map_of(i), p["segments_info"])
            return groups_of(quality)

        return run

    counts = {"ours": PanopticQuality.add_image, "plain": count_by_the_rules}
    rows = {(name, source): row(count, source) for name, count in counts.items() for source in from_disk}
    rows["ours", "processes"] = lambda: groups_of(panoptic_quality_of_folders(*files.all, args.workers)[0])
    if args.panopticapi:
        rows |= published_rows(args.panopticapi, files, gt_maps, pred_maps)
    return rows


def count_by_the_rules(quality, gt_map, gt_segments, pred_map, pred_segments) -> None:
    """The rules of the COCO evaluation (tests/golden/pq_A/README.md), pair by pair."""
    gt, pred = ({s["id"]: s for s in segments} for segments in (gt_segments, pred_segments))
    pairs, numbers = np.unique(gt_map * 2**24 + pred_map, return_counts=True)
    shared = {divmod(pair, 2**24): number for pair, number in zip(pairs.tolist(), numbers.tolist(), strict=True)}
    pred_area = {i: sum(n for (_, p), n in shared.items() if p == i) for i in pred}
    matched_gt, matched_pred = set(), set()
    for (g, p), intersection in shared.items():
        if g not in gt or p not in pred or gt[g]["iscrowd"] or gt[g]["category_id"] != pred[p]["category_id"]:
            continue
        union = pred_area[p] + gt[g]["area"] - intersection - shared.get((0, p), 0)
        if intersection / union > 0.5:
            counts = quality.counts[gt[g]["category_id"]]
            counts.tp, counts.iou = counts.tp + 1, counts.iou + intersection / union
            matched_gt.add(g)
            matched_pred.add(p)
    for i, segment in gt.items():
        if i not in matched_gt and not segment["iscrowd"]:
            quality.counts[segment["category_id"]].fn += 1
    crowd_of = {segment["category_id"]: i for i, segment in gt.items() if segment["iscrowd"]}
    for i, segment in pred.items():
        ignored = shared.get((0, i), 0) + shared.get((crowd_of.get(segment["category_id"]), i), 0)
        if i not in matched_pred and ignored <= 0.5 * pred_area[i]:
            quality.counts[segment["category_id"]].fp += 1


def groups_of(quality: PanopticQuality) -> dict:
    is_thing = [int(i < NUM_THINGS) for i in range(NUM_CATEGORIES)]
    return {group: quality.result([i for i, t in enumerate(is_thing) if t in kinds]) for group, kinds in GROUPS.items()}


def published_rows(folder: Path, files: Files, gt_maps: list, pred_maps: list) -> dict:
    sys.path.insert(0, str(folder))
    from panopticapi import evaluation, utils

    def folders():
        gt, pred = (json.loads(path.read_text()) for path in (files.gt_json, files.pred_json))
        categories = {c["id"]: c for c in gt["categories"]}
        pairs = list(zip(gt["annotations"], pred["annotations"], strict=True))
        counted = evaluation.pq_compute_single_core(0, pairs, str(files.gt_dir), str(files.pred_dir), categories)
        kinds = {"All": None, "Things": True, "Stuff": False}
        return {group: counted.pq_average(categories, isthing=kind)[0] for group, kind in kinds.items()}

    def counting():
        maps = {str(d / f"{i}.png"): m for d, ms in ((files.gt_dir, gt_maps), (files.pred_dir, pred_maps))
                for i, m in enumerate(ms)}  # fmt: skip
        without_reading = {"Image": SimpleNamespace(open=maps.__getitem__), "rgb2id": lambda ids: ids}
        with mock.patch.multiple(evaluation, **without_reading):
            return folders()

    def model():
        for image, pred_map in enumerate(pred_maps):
            Image.fromarray(utils.id2rgb(pred_map)).save(files.pred_dir / f"{image}.png")
        return folders()

    def processes():
        return evaluation.pq_compute(*map(str, (files.gt_json, files.pred_json, files.gt_dir, files.pred_dir)))

    rows = {"counting": counting, "model": model, "folders": folders, "processes": processes}
    return {("published", source): silenced(run) for source, run in rows.items()}


def silenced(function):
    def call():
        with contextlib.redirect_stdout(io.StringIO()):
            return function()

    return call


def time_rows(rows: dict, repeats: int) -> tuple[dict, dict]:
    """Median seconds and results of all rows, each round running them in turn."""
    seconds, results = {row: [] for row in rows}, {}
    for round_ in range(repeats):
        for (name, source), run in rows.items():
            print(f"\rround {round_ + 1} of {repeats}: {name} {source:12}", end="", file=sys.stderr, flush=True)
            clock = time.perf_counter if source == "processes" else time.process_time
            start = clock()
            results[name, source] = run()
            seconds[name, source].append(clock() - start)
    print(file=sys.stderr)
    return {row: statistics.median(values) for row, values in seconds.items()}, results


def difference(one: dict, other: dict) -> float:
    return max(abs(one[group][key] - other[group][key]) for group in GROUPS for key in ("pq", "sq", "rq"))


if __name__ == "__main__":
    main()
