"""Six small images with annotations in every format that Detectron2 reads.

| id | file       | w x h   | stuff | objects                                                                    |
| -- | ---------- | ------- | ----- | -------------------------------------------------------------------------- |
|  3 | landscape  | 60 x 40 |    92 | person (polygon), plane (compressed RLE)                                   |
|  7 | portrait   | 40 x 60 |   200 | person crowd (uncompressed RLE), plane of two rectangles (two polygons)    |
| 12 | empty      | 64 x 48 |    92 | none                                                                       |
| 20 | rotated    | 30 x 40 |    92 | person (polygon); the JPEG is stored rotated, EXIF orientation 6           |
| 31 | crowd_only | 36 x 50 |   200 | person crowd (compressed RLE)                                              |
| 40 | square     | 32 x 32 |    92 | plane (uncompressed RLE)                                                   |

Objects are unions of rectangles and do not overlap; the last four rows of each image are void, the rest is stuff.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

PERSON, PLANE, BANNER, RUG = 1, 5, 92, 200  # category ids in the files
CONTIGUOUS = {PERSON: 0, PLANE: 1, BANNER: 2, RUG: 3}
NAMES = {PERSON: "person", PLANE: "plane", BANNER: "banner", RUG: "rug"}
COLORS = {PERSON: (200, 40, 40), PLANE: (40, 200, 40), BANNER: (40, 40, 200), RUG: (120, 120, 40), None: (10, 10, 10)}
VOID_ROWS = 4


@dataclass(frozen=True)
class SyntheticObject:
    category: int
    rectangles: tuple[tuple[int, int, int, int], ...]  # x0, y0, x1, y1, half-open
    encoding: str  # "polygon", "rle" (compressed) or "counts" (uncompressed RLE)
    iscrowd: int = 0

    def mask(self, height: int, width: int) -> np.ndarray:
        mask = np.zeros((height, width), dtype=bool)
        for x0, y0, x1, y1 in self.rectangles:
            mask[y0:y1, x0:x1] = True
        return mask

    @property
    def box_xywh(self) -> list[float]:  # floats: the real Detectron2 truncates scaled integer boxes
        x0, y0 = np.min(self.rectangles, axis=0)[:2].tolist()
        x1, y1 = np.max(self.rectangles, axis=0)[2:].tolist()
        return [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]

    def segmentation(self, height: int, width: int):
        if self.encoding == "polygon":
            return [[x0, y0, x1, y0, x1, y1, x0, y1] for x0, y0, x1, y1 in self.rectangles]
        mask = self.mask(height, width)
        if self.encoding == "rle":
            rle = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
            return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
        # Run lengths in column order, starting with zeros.
        runs = [(value, len(list(group))) for value, group in itertools.groupby(mask.flatten(order="F").tolist())]
        counts = [length for _, length in runs]
        return {"size": [height, width], "counts": [0, *counts] if runs[0][0] else counts}


@dataclass(frozen=True)
class SyntheticImage:
    id: int
    name: str
    width: int
    height: int
    stuff: int
    objects: tuple[SyntheticObject, ...] = ()
    exif_orientation: int = 1


IMAGES = (
    SyntheticImage(
        3,
        "landscape",
        60,
        40,
        BANNER,
        (
            SyntheticObject(PERSON, ((10, 5, 20, 25),), "polygon"),
            SyntheticObject(PLANE, ((30, 10, 50, 20),), "rle"),
        ),
    ),
    SyntheticImage(
        7,
        "portrait",
        40,
        60,
        RUG,
        (
            SyntheticObject(PERSON, ((0, 0, 40, 10),), "counts", iscrowd=1),
            SyntheticObject(PLANE, ((5, 20, 15, 30), (25, 40, 35, 50)), "polygon"),
        ),
    ),
    SyntheticImage(12, "empty", 64, 48, BANNER),
    SyntheticImage(
        20, "rotated", 30, 40, BANNER, (SyntheticObject(PERSON, ((4, 6, 14, 30),), "polygon"),), exif_orientation=6
    ),
    SyntheticImage(31, "crowd_only", 36, 50, RUG, (SyntheticObject(PERSON, ((6, 8, 30, 40),), "rle", iscrowd=1),)),
    SyntheticImage(40, "square", 32, 32, BANNER, (SyntheticObject(PLANE, ((8, 8, 24, 24),), "counts"),)),
)


@dataclass(frozen=True)
class SyntheticCoco:
    """Paths of the files, and the metadata for their registration."""

    image_root: str
    instances_json: str
    panoptic_json: str
    panoptic_root: str
    sem_seg_root: str
    images: tuple[SyntheticImage, ...] = IMAGES
    panoptic_metadata: dict = field(
        default_factory=lambda: {
            "thing_classes": [NAMES[c] for c in CONTIGUOUS],
            "stuff_classes": [NAMES[c] for c in CONTIGUOUS],
            "thing_dataset_id_to_contiguous_id": {PERSON: 0, PLANE: 1},
            "stuff_dataset_id_to_contiguous_id": {BANNER: 2, RUG: 3},
        }
    )


@pytest.fixture(scope="session")
def synthetic_coco(tmp_path_factory) -> SyntheticCoco:
    """The six images with their instances, panoptic and semantic ground truth (labels 0..3, void 255), written once."""
    root = tmp_path_factory.mktemp("synthetic_coco")
    for folder in ("images", "panoptic", "sem_seg"):
        (root / folder).mkdir()
    instances, panoptic = [], []
    for image in IMAGES:
        _write_image(root, image)
        panoptic.append(_write_panoptic(root, image))
        for obj in image.objects:
            instances.append(
                {
                    "id": len(instances) + 1,
                    "image_id": image.id,
                    "category_id": obj.category,
                    "iscrowd": obj.iscrowd,
                    "bbox": obj.box_xywh,
                    "area": int(obj.mask(image.height, image.width).sum()),
                    "segmentation": obj.segmentation(image.height, image.width),
                }
            )
    images = [{"id": i.id, "file_name": f"{i.name}.jpg", "width": i.width, "height": i.height} for i in IMAGES]
    categories = [{"id": c, "name": NAMES[c], "isthing": int(c in (PERSON, PLANE))} for c in CONTIGUOUS]
    things = [c for c in categories if c["isthing"]]
    _dump(root / "instances.json", images=images[::-1], annotations=instances, categories=things[::-1])
    _dump(root / "panoptic.json", images=images, annotations=panoptic, categories=categories)
    return SyntheticCoco(
        image_root=str(root / "images"),
        instances_json=str(root / "instances.json"),
        panoptic_json=str(root / "panoptic.json"),
        panoptic_root=str(root / "panoptic"),
        sem_seg_root=str(root / "sem_seg"),
    )


@pytest.fixture
def dataset_name():
    """A dataset name that is unused in both catalogs before and after the test."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    name = "contract_dataset"
    yield name
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog:
            catalog.remove(name)


def _dump(path: Path, **content) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _category_map(image: SyntheticImage) -> np.ndarray:
    """(H, W) ids of the files, 0 for void."""
    categories = np.full((image.height, image.width), image.stuff)
    for obj in image.objects:
        categories[obj.mask(image.height, image.width)] = obj.category
    categories[-VOID_ROWS:] = 0
    return categories


def _write_image(root: Path, image: SyntheticImage) -> None:
    categories = _category_map(image)
    pixels = np.zeros((image.height, image.width, 3), dtype=np.uint8)
    labels = np.full((image.height, image.width), 255, dtype=np.uint8)
    pixels[:] = COLORS[None]
    for category, label in CONTIGUOUS.items():
        pixels[categories == category] = COLORS[category]
        labels[categories == category] = label
    picture = Image.fromarray(pixels)
    if image.exif_orientation == 6:  # shown rotated clockwise
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    exif = picture.getexif()
    exif[0x0112] = image.exif_orientation
    picture.save(root / "images" / f"{image.name}.jpg", quality=100, subsampling=0, exif=exif)
    Image.fromarray(labels).save(root / "sem_seg" / f"{image.name}.png")


def _write_panoptic(root: Path, image: SyntheticImage) -> dict:
    """Write the PNG (segment id = R + 256 G + 65536 B); returns the annotation."""
    segments, ids = [], np.zeros((image.height, image.width), dtype=np.int64)
    background = SyntheticObject(image.stuff, ((0, 0, image.width, image.height - VOID_ROWS),), "rle")
    for index, obj in enumerate((background, *image.objects)):
        segment_id = 1 + 300 * index + 65536 * index  # uses all three bytes
        ids[obj.mask(image.height, image.width)] = segment_id
        segments.append({"id": segment_id, "category_id": obj.category, "iscrowd": obj.iscrowd, "bbox": obj.box_xywh})
    for segment in segments:
        segment["area"] = int((ids == segment["id"]).sum())
    png = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
    Image.fromarray(png).save(root / "panoptic" / f"{image.name}.png")
    return {"image_id": image.id, "file_name": f"{image.name}.png", "segments_info": segments}
