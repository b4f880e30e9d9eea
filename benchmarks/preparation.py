#!/usr/bin/env python
"""Preparation of the published datasets: time per image, and estimated time of a whole dataset.

    python benchmarks/preparation.py                  # 100 synthetic images of the usual sizes each
    python benchmarks/preparation.py --images 2 --scale 0.1 --workers 1

Annotations are areas around random points in the original formats; images are noise. The COCO split is an annotation
file with 7.3 objects with outlines of 40 points per image, as in instances_train2017.json. Prints the milliseconds per
image of one process and of several, and the minutes for the number of images of the published dataset. Disk reads are
not included: the files are still in memory.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from masqclip_d2.categories import load_categories
from masqclip_d2.data.label_maps import id2rgb
from masqclip_d2.data.preparation import prepare
from tests.original_formats import compressed, write_image, write_json, write_pixels

# Preparation and kind -> pixels (width, height), segments per image, published images of both splits.
DATASETS = {
    ("ade20k", "semantic"): ((683, 512), 20, 22_210),
    ("ade20k", "instance"): ((683, 512), 20, 22_210),
    ("ade20k", "panoptic"): ((683, 512), 20, 22_210),
    ("ade20k_full", None): ((1600, 1200), 40, 27_574),
    ("coco", None): ((640, 480), 11, 123_287),
    ("coco_split", None): ((640, 480), 7, 123_287),
    ("pascal_context", "59"): ((500, 375), 10, 10_103),
    ("pascal_context", "459"): ((500, 375), 10, 10_103),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="images per dataset")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the sides")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of the second column")
    args = parser.parse_args()
    print(f"{args.images} images each, {args.workers} processes, numpy {np.__version__}\n")
    print(f"{'':24}{'ms per image':>14}{'by processes':>14}{'minutes for all':>17}")
    for (name, kind), (size, segments, published) in DATASETS.items():
        sides = tuple(max(8, round(side * args.scale)) for side in size)
        took = []
        for num_workers in (1, args.workers):
            with tempfile.TemporaryDirectory() as folder:
                WRITERS[name](Path(folder), args.images, sides, segments, np.random.default_rng(0))
                began = time.perf_counter()
                prepare(name, folder, kinds=kind and [kind], splits=["val"], num_workers=num_workers, progress=False)
                took.append((time.perf_counter() - began) / args.images)
        title = name if kind is None else f"{name}, {kind}"
        print(f"{title:24}{1000 * took[0]:14.1f}{1000 * took[1]:14.1f}{took[1] * published / 60:17.1f}", flush=True)


def areas(size: tuple[int, int], segments: int, rng: np.random.Generator) -> np.ndarray:
    """Return (height, width) indices of the nearest of `segments` random points."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    points = rng.random((segments, 2)) * (height, width)
    distances = [(rows - row) ** 2 + (columns - column) ** 2 for row, column in points]
    return np.argmin(distances, axis=0)


def write_ade20k(root: Path, images: int, size, segments: int, rng) -> None:
    base = root / "ADEChallengeData2016"
    for number in range(images):
        stem = f"ADE_val_{number:08d}"
        where = areas(size, segments, rng)
        write_image(base / "images" / "validation" / f"{stem}.jpg", *size)
        write_pixels(base / "annotations" / "validation" / f"{stem}.png", rng.integers(0, 151, segments)[where])
        classes = rng.integers(1, 101, segments)
        colors = np.stack([classes, np.arange(1, segments + 1), np.zeros(segments)], axis=1)
        colors[::2] = 0  # no instance: stuff
        write_pixels(base / "annotations_instance" / "validation" / f"{stem}.png", colors[where])


def write_ade20k_full(root: Path, images: int, size, segments: int, rng) -> None:
    import pickle

    base = root / "ADE20K_2021_17_01"
    folder = "ADE/validation/home/bedroom"
    names = [f"ADE_val_{number:08d}" for number in range(images)]
    for name in names:
        colors = rng.integers(0, 256, (segments, 3))
        colors[:, 0] = rng.integers(0, 30, segments) * 10
        (base / "images" / folder).mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(size).save(base / "images" / folder / f"{name}.jpg")
        write_pixels(base / "images" / folder / f"{name}_seg.png", colors[areas(size, segments, rng)])
    index = {
        "folder": [f"ADE20K_2021_17_01/images/{folder}"] * images,
        "filename": [f"{name}.jpg" for name in names],
        "objectIsPart": np.zeros((3, images)),
    }
    (base / "index_ade20k.pkl").write_bytes(pickle.dumps(index))


def write_coco(root: Path, images: int, size, segments: int, rng) -> None:
    coco, annotations = root / "coco", []
    ids = [row.id for row in load_categories("coco")]
    for number in range(1, images + 1):
        file_name = f"{number:012d}.png"
        write_pixels(coco / "panoptic_val2017" / file_name, id2rgb(1 + areas(size, segments, rng)))
        infos = [{"id": 1 + i, "category_id": int(rng.choice(ids)), "area": 1, "iscrowd": 0} for i in range(segments)]
        annotations.append({"image_id": number, "file_name": file_name, "segments_info": infos})
    rows = [{"id": row.id, "name": row.name, "isthing": int(row.isthing)} for row in load_categories("coco")]
    content = {"images": coco_images(images, size), "annotations": annotations, "categories": rows}
    write_json(coco / "annotations" / "panoptic_val2017.json", content)


def write_coco_split(root: Path, images: int, size, segments: int, rng) -> None:
    things = [row for row in load_categories("coco") if row.isthing]
    annotations = [
        {
            "id": 1 + number, "image_id": 1 + number // segments, "category_id": things[number % len(things)].id,
            "iscrowd": 0, "area": 1.0, "bbox": [0.0, 0.0, 1.0, 1.0],
            "segmentation": [(rng.random(80) * size[0]).round(2).tolist()],
        }
        for number in range(images * segments)
    ]  # fmt: skip
    rows = [{"id": row.id, "name": row.name} for row in things]
    content = {"images": coco_images(images, size), "annotations": annotations, "categories": rows}
    write_json(root / "coco" / "annotations" / "instances_val2017.json", content)


def coco_images(images: int, size: tuple[int, int]) -> list[dict]:
    names = [(number, f"{number:012d}.jpg") for number in range(1, images + 1)]
    return [{"id": number, "file_name": name, "width": size[0], "height": size[1]} for number, name in names]


def write_pascal_context(root: Path, images: int, size, segments: int, rng) -> None:
    from scipy.io import savemat

    base = root / "VOCdevkit" / "VOC2010"
    (base / "trainval").mkdir(parents=True)
    rows, annotations = [], []
    for number in range(images):
        stem, where = f"2008_{number:06d}", areas(size, segments, rng)
        write_image(base / "JPEGImages" / f"{stem}.jpg", *size)
        labels = rng.integers(0, 460, segments).astype(np.uint16)[where]
        savemat(base / "trainval" / f"{stem}.mat", {"LabelMap": labels})
        rows.append(
            {"image_id": number, "file_name": f"{stem}.jpg", "width": size[0], "height": size[1], "phase": "val"}
        )
        annotations += [
            {"image_id": number, "category_id": int(rng.choice([2, 9, 18])), "segmentation": compressed(where == i)}
            for i in range(segments)
        ]
    write_json(base / "trainval_merged.json", {"images": rows, "annos_segmentation": annotations})


WRITERS: dict[str, Callable] = {
    "ade20k": write_ade20k,
    "ade20k_full": write_ade20k_full,
    "coco": write_coco,
    "coco_split": write_coco_split,
    "pascal_context": write_pascal_context,
}

if __name__ == "__main__":
    main()
