"""Writes a Shapes dataset to disk, in parallel; an interrupted run can be resumed.

Image i of a split depends only on (seed, split, i), not on the number of workers or images. Files are written
atomically. The manifest of an unfinished folder has `"complete": false`; annotation files are written at the end.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...data.chunks import collected, in_chunks, run_chunks
from ...files import save_image, save_json
from .annotations import (
    captions_json,
    describe_segments,
    instance_masks,
    instances_json,
    panoptic_json,
    panoptic_png,
    semantic_png,
)
from .captions import describe
from .frame import Frame
from .objects import CLEAR_SIZES, CLOSEUP_SIZES, SCENE_SIZES
from .scene import Scene, render_portrait, render_scene

WORLD_VERSION = 4  # increase it when the same seed renders other images or labels
DEFAULT_SCALE = 2  # pixels per unit: scenes have 256 pixels and more on the shorter side
MANIFEST = "manifest.json"

_WORLD_NAME = "masqclip_d2 shapes"
_PARTS = ".parts"  # folder with the records of finished chunks, until the annotation files are written
_PNG_LEVEL = 1  # fast; noise hardly compresses
_SCENE_SIDES = (128, 144, 160, 176)  # units
_CAPTION_SIDE, _CLOSEUP_SIDE = 128, 64  # units
_PORTRAIT_SHARE = 0.7  # share of the close-ups
_CLEAR_SHARE = 0.6  # share of the captioned images
_PORTRAIT_NAME_SHARE = 0.5  # share of captions of portraits that consist of the name
_SPLIT_CODES = {"train": 0, "val": 1, "captions": 2, "closeups": 3}
_IMAGE_FOLDERS = {"train": "train", "val": "val", "captions": "captions_images", "closeups": "closeups_images"}
# Splits without segment labels, and the suffix of their caption files.
_CAPTION_FILES = {"captions": "pretrain", "closeups": "closeups"}
_MAX_IMAGES = 10_000_000
_MAX_SCALE = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShapesSpec:
    """Content of a Shapes folder: numbers of images, seed, pixels per unit of length, difficulty.

    Args:
        easy: train and val have the scenes of the class-room recipe, see `render_image`.

    Raises:
        ValueError: a number is negative, all are 0, or the scale is not from 1 to 8.
    """

    num_train: int
    num_val: int
    num_captions: int
    seed: int = 0
    num_closeups: int = 0
    scale: int = DEFAULT_SCALE
    easy: bool = False

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value <= _MAX_IMAGES:
                raise ValueError(f"{name} must be from 0 to {_MAX_IMAGES}, got {value}.")
        if not 1 <= self.scale <= _MAX_SCALE:
            raise ValueError(f"scale must be from 1 to {_MAX_SCALE} pixels per unit, got {self.scale}.")
        if not any(self.counts.values()):
            raise ValueError("Nothing to render: num_train, num_val, num_captions and num_closeups are all 0.")

    @property
    def counts(self) -> dict[str, int]:
        return {
            "train": self.num_train,
            "val": self.num_val,
            "captions": self.num_captions,
            "closeups": self.num_closeups,
        }

    def includes(self, other: ShapesSpec) -> bool:
        """Return True if this spec contains all images of `other`."""
        same_world = (self.seed, self.scale, self.easy) == (other.seed, other.scale, other.easy)
        return same_world and all(self.counts[split] >= n for split, n in other.counts.items())


def render_image(split: str, index: int, seed: int, scale: int = 1, easy: bool = False) -> tuple[Scene, str]:
    """Render image `index` (from 0) of a split, and its caption.

    "train" and "val": scenes with sides of 128 to 176 units and 1 to 8 things. "captions": 128 x 128 units, mostly 1
    to 3 things of at least 20 units in clear colors, otherwise 0 to 3 things as in scenes. "closeups": 64 x 64 units,
    mostly a portrait of one thing, otherwise 0 to 2 things of 14 to 72 units. A unit is `scale` pixels.

    Easy scenes ("train" and "val") have 128 x 128 units, 1 to 4 things of at least 20 units, upright and light with a
    dark second color, 1 or 2 kinds of stuff and no distractors.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, _SPLIT_CODES[split], index]))
    object_sizes = SCENE_SIZES
    if split == "closeups" and rng.random() < _PORTRAIT_SHARE:
        scene = render_portrait(rng, Frame(_CLOSEUP_SIDE, _CLOSEUP_SIDE, scale))
        return scene, describe(rng, scene, name_share=_PORTRAIT_NAME_SHARE)
    if split == "closeups":
        frame = Frame(_CLOSEUP_SIDE, _CLOSEUP_SIDE, scale)
        num_things = rng.choice(3, p=(0.08, 0.74, 0.18))
        num_stuff = 1 + rng.choice(2, p=(0.70, 0.30))
        num_distractors = rng.choice(2, p=(0.70, 0.30))
        object_sizes = CLOSEUP_SIZES
    elif split == "captions" and rng.random() < _CLEAR_SHARE:
        frame = Frame(_CAPTION_SIDE, _CAPTION_SIDE, scale)
        num_things, num_stuff = 1 + rng.choice(3, p=(0.50, 0.30, 0.20)), 1 + rng.choice(2, p=(0.80, 0.20))
        scene = render_scene(rng, frame, int(num_things), int(num_stuff), 0, CLEAR_SIZES, clear=True)
        return scene, describe(rng, scene, name_share=_PORTRAIT_NAME_SHARE)
    elif split == "captions":
        frame = Frame(_CAPTION_SIDE, _CAPTION_SIDE, scale)
        num_things = rng.choice(4, p=(0.08, 0.64, 0.18, 0.10))
        num_stuff = 1 + rng.choice(3, p=(0.70, 0.25, 0.05))
        num_distractors = rng.integers(0, 3)
    elif easy:
        num_things, num_stuff = 1 + rng.choice(4), 1 + rng.choice(2)
        frame = Frame(_CAPTION_SIDE, _CAPTION_SIDE, scale)
        scene = render_scene(rng, frame, int(num_things), int(num_stuff), 0, CLEAR_SIZES, easy=True)
        return scene, describe(rng, scene)
    else:
        frame = Frame(int(rng.choice(_SCENE_SIDES)), int(rng.choice(_SCENE_SIDES)), scale)
        num_things = rng.integers(1, 9)
        num_stuff = 1 + rng.choice(3, p=(0.30, 0.40, 0.30))
        num_distractors = rng.integers(0, 5)
    scene = render_scene(rng, frame, int(num_things), int(num_stuff), int(num_distractors), object_sizes)
    return scene, describe(rng, scene)


def write_shapes(
    output: str | Path, spec: ShapesSpec, *, num_workers: int = 1, exist_ok: bool = False, progress: bool = True
) -> Path:
    """Render a Shapes folder; datasets/README.md lists its files.

    An unfinished folder of the same spec is resumed; a finished one with fewer images is extended.

    Args:
        output: the folder; may exist if it is empty or was made by this function.
        spec: numbers of images, and seed.
        num_workers: processes; up to 1 renders in this process.
        exist_ok: keep a finished folder that contains all images of `spec`; False: that is an error.
        progress: show a progress bar on stderr.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder has other content, another seed or world version, or more images.
    """
    output = Path(output)
    if not _claim(output, spec, exist_ok):
        return output
    save_json(output / MANIFEST, _manifest(spec, complete=False))
    chunks = {
        split: in_chunks(partial(_write_image, output, split, spec), range(count), output / _PARTS, split)
        for split, count in spec.counts.items()
    }
    run_chunks(sum(chunks.values(), []), "shapes", num_workers=num_workers, progress=progress)
    for split, count in spec.counts.items():
        if count:
            _write_annotations(output, split, collected(chunks[split]))
    save_json(output / MANIFEST, _manifest(spec, complete=True))
    shutil.rmtree(output / _PARTS)
    return output


def _claim(output: Path, spec: ShapesSpec, exist_ok: bool) -> bool:
    """Check that the folder may be written; return False if it is already finished."""
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file; choose another --output folder.")
    manifest = read_manifest(output)
    if manifest is None:
        if output.is_dir() and any(output.iterdir()):
            raise FileExistsError(
                f"{output} is not empty and was not made by make_shapes; choose another --output folder."
            )
        return True
    found = ShapesSpec(**manifest["spec"])
    if manifest["world_version"] != WORLD_VERSION:
        raise FileExistsError(
            f"{output} has version {manifest['world_version']} of the Shapes world, this code renders version "
            f"{WORLD_VERSION}; delete the folder or choose another --output."
        )
    if manifest["complete"] and found.includes(spec):
        if exist_ok:
            logger.info("%s already exists, with %s.", output, found)
            return False
        raise FileExistsError(f"{output} already exists, with {found}; delete it, or pass --exist-ok to keep it.")
    if not spec.includes(found):
        raise FileExistsError(
            f"{output} has {found}, which {spec} does not include; delete it or choose another --output."
        )
    if manifest["complete"] or found != spec:
        shutil.rmtree(output / _PARTS, ignore_errors=True)  # chunks have other boundaries now
    else:
        logger.info("Resuming the unfinished folder %s.", output)
    return True


def read_manifest(folder: str | Path) -> dict[str, Any] | None:
    """Return the manifest of a Shapes folder (name, world_version, spec, complete), or None if there is none."""
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("name") == _WORLD_NAME else None


def _manifest(spec: ShapesSpec, complete: bool) -> dict[str, Any]:
    return {"name": _WORLD_NAME, "world_version": WORLD_VERSION, "spec": asdict(spec), "complete": complete}


def _write_image(output: Path, split: str, spec: ShapesSpec, index: int) -> dict[str, Any]:
    scene, caption = render_image(split, index, spec.seed, spec.scale, spec.easy)
    height, width = scene.segment_map.shape
    image_id = index + 1
    file_name = f"{image_id:012d}.png"
    save_image(output / _IMAGE_FOLDERS[split] / file_name, scene.image, compress_level=_PNG_LEVEL)
    record = {
        "image": {"id": image_id, "file_name": file_name, "height": height, "width": width},
        "caption": caption,
    }
    if split in _CAPTION_FILES:
        return record
    record["segments"], record["masks"] = describe_segments(scene), instance_masks(scene)
    for suffix, base_only in _label_sets(split):
        panoptic = panoptic_png(scene, record["segments"], base_only)
        semantic = semantic_png(scene, base_only)
        for folder, labels in (
            (f"annotations/panoptic_{split}{suffix}", panoptic),
            (f"semantic_{split}{suffix}", semantic),
        ):
            save_image(output / folder / file_name, labels, compress_level=_PNG_LEVEL)
    return record


def _label_sets(split: str) -> tuple[tuple[str, bool], ...]:
    """Return (suffix of the files, base categories only) for each label set of a split."""
    return (("", False), ("_base", True)) if split == "train" else (("", False),)


def _write_annotations(output: Path, split: str, records: list[dict[str, Any]]) -> None:
    folder = output / "annotations"
    if split in _CAPTION_FILES:
        save_json(folder / f"captions_{_CAPTION_FILES[split]}.json", captions_json(records))
        return
    save_json(folder / f"captions_{split}.json", captions_json(records))
    for suffix, base_only in _label_sets(split):
        save_json(folder / f"panoptic_{split}{suffix}.json", panoptic_json(records, base_only))
        save_json(folder / f"instances_{split}{suffix}.json", instances_json(records, base_only))
