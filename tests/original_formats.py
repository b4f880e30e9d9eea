"""Miniatures of published datasets in their original formats, and metrics of their ground truth as predictions.

Each `write_*` writes one dataset, as it is after download, into a root of all datasets: one or two images of a few
pixels.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools import mask as coco_mask

from masqclip_d2.config import load_config
from masqclip_d2.data.label_maps import read_label_map, read_panoptic_png
from masqclip_d2.data.mappers import build_mapper
from masqclip_d2.evaluation import evaluators_for
from masqclip_d2.evaluation.report.saved_predictions import Origin


def write_image(path: Path, width: int, height: int, color=(90, 120, 60)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), color).save(path)


def write_pixels(path: Path, pixels, dtype=np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels, dtype=dtype)).save(path)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def compressed(rows) -> dict[str, Any]:
    """COCO's compressed run-length encoding of rows of 0 and 1."""
    rle = coco_mask.encode(np.asfortranarray(np.array(rows, dtype=np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


# --- ADE20K-150 ---

ADE_VAL = "ADE_val_00000001"
ADE_TRAIN = "ADE_train_00000001"
# SceneParse150: 0 other, 1 wall, 3 sky, 8 bed, 13 person.
ADE_VAL_RAW = [[1, 1, 3, 3], [8, 8, 3, 0], [8, 8, 13, 0]]
ADE_TRAIN_RAW = [[1, 1], [8, 8]]
# (class, number) of the instance challenge: 1 bed, 4 person.
_BED, _PERSON, _NONE = (1, 1, 0), (4, 2, 0), (0, 0, 0)
ADE_VAL_INSTANCES = [[_NONE] * 4, [_BED, _BED, _NONE, _NONE], [_BED, _BED, _PERSON, _NONE]]
# Two beds, the first of which lies over a pixel of wall.
ADE_TRAIN_INSTANCES = [[_NONE, (1, 1, 9)], [(1, 2, 9), (1, 1, 9)]]


def write_ade20k(root: Path, folder: str = "ADEChallengeData2016") -> Path:
    base = root / folder
    for split, stem, raw, instances in (
        ("validation", ADE_VAL, ADE_VAL_RAW, ADE_VAL_INSTANCES),
        ("training", ADE_TRAIN, ADE_TRAIN_RAW, ADE_TRAIN_INSTANCES),
    ):
        write_image(base / "images" / split / f"{stem}.jpg", len(raw[0]), len(raw))
        write_pixels(base / "annotations" / split / f"{stem}.png", raw)
        write_pixels(base / "annotations_instance" / split / f"{stem}.png", instances)
    return base


# --- COCO ---

# Segment 1 + 256 * 2 is a person, 3 a crowd of persons, 65536 grass-merged (193), 0 void.
COCO_PANOPTIC_COLORS = [[(1, 2, 0), (3, 0, 0), (0, 0, 1)], [(1, 2, 0), (0, 0, 0), (0, 0, 1)]]
COCO_SEGMENTS = [
    {"id": 513, "category_id": 1, "iscrowd": 0, "area": 2, "bbox": [0, 0, 1, 2]},
    {"id": 3, "category_id": 1, "iscrowd": 1, "area": 1, "bbox": [1, 0, 1, 1]},
    {"id": 65536, "category_id": 193, "iscrowd": 0, "area": 2, "bbox": [2, 0, 1, 2]},
]


def write_coco_panoptic(root: Path) -> Path:
    """The panoptic files of both splits, with one picture each, and the instances of the same pictures."""
    coco = root / "coco"
    for number, split in enumerate(("train2017", "val2017"), start=1):
        stem = f"{number:012d}"
        write_image(coco / split / f"{stem}.jpg", 3, 2)
        write_pixels(coco / f"panoptic_{split}" / f"{stem}.png", COCO_PANOPTIC_COLORS)
        write_json(
            coco / "annotations" / f"panoptic_{split}.json",
            {
                "images": [{"id": number, "file_name": f"{stem}.jpg", "height": 2, "width": 3}],
                "annotations": [{"image_id": number, "file_name": f"{stem}.png", "segments_info": COCO_SEGMENTS}],
                "categories": [{"id": 1, "name": "person", "isthing": 1}, {"id": 193, "name": "grass", "isthing": 0}],
            },
        )
        person = {
            "id": 1, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 2, "bbox": [0, 0, 1, 2],
            "segmentation": compressed([[1, 0, 0], [1, 0, 0]]),
        }  # fmt: skip
        write_json(
            coco / "annotations" / f"instances_{split}.json",
            {
                "images": [{"id": number, "file_name": f"{stem}.jpg", "height": 2, "width": 3}],
                "annotations": [person],
                "categories": [{"id": 1, "name": "person"}],
            },
        )
    return coco


def coco_annotation(number: int, image: int, category: int, iscrowd: int = 0) -> dict[str, Any]:
    segmentation = compressed([[1, 0, 0], [1, 0, 0]]) if iscrowd else [[0, 0, 2, 0, 2, 2, 0, 2]]
    return {
        "id": number, "image_id": image, "category_id": category, "iscrowd": iscrowd, "area": 4, "bbox": [0, 0, 2, 2],
        "segmentation": segmentation,
    }  # fmt: skip


def write_coco_instances(root: Path) -> Path:
    """Both splits: image 7 has a person (base) and a cat (novel), 5 a crowd of cats, 9 a traffic light, 8 nothing."""
    coco = root / "coco"
    for split in ("train2017", "val2017"):
        for number in (7, 5, 9, 8):
            write_image(coco / split / f"{number:012d}.jpg", 3, 2)
        write_json(
            coco / "annotations" / f"instances_{split}.json",
            {
                "info": {"year": 2017},
                "licenses": [{"id": 1}],
                "images": [
                    {"id": n, "file_name": f"{n:012d}.jpg", "height": 2, "width": 3} for n in (7, 5, 9, 8)
                ],
                "annotations": [
                    coco_annotation(41, 7, 17),
                    coco_annotation(40, 5, 17, iscrowd=1),
                    coco_annotation(39, 7, 1),
                    coco_annotation(38, 9, 10),
                ],
                "categories": [
                    {"id": 1, "name": "person"},
                    {"id": 10, "name": "traffic light"},
                    {"id": 17, "name": "cat"},
                ],
            },
        )  # fmt: skip
    return coco


# --- ADE20K full ---


class _RunsWhenRead:
    """A pickle of this makes a folder when it is read by `pickle.load`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self._folder),)


ADE_FULL_FOLDERS = {"train": "ADE/training/urban/street", "val": "ADE/validation/home/bedroom"}


def write_ade20k_full(root: Path) -> Path:
    """A small validation image and a large training image; wall is class 2978, bed 165 of the full release."""
    base = root / "ADE20K_2021_17_01"
    wall, bed, none = (110, 162, 5), (9, 165, 7), (0, 0, 3)  # floor(110 / 10) * 256 + 162 = 2978; floor(9 / 10) = 0
    small = np.array([[wall, bed], [none, wall], [bed, bed]], dtype=np.uint8)  # (3, 2, 3)
    large = np.zeros((520, 600, 3), dtype=np.uint8)
    large[:, :300], large[:, 300:] = wall, bed
    names = {"val": "ADE_val_00000007", "train": "ADE_train_00000003"}
    for split, colors in (("val", small), ("train", large)):
        folder = base / "images" / ADE_FULL_FOLDERS[split]
        write_image(folder / f"{names[split]}.jpg", colors.shape[1], colors.shape[0])
        write_pixels(folder / f"{names[split]}_seg.png", colors)
    index = {
        "folder": [f"ADE20K_2021_17_01/images/{ADE_FULL_FOLDERS[split]}" for split in ("val", "train")],
        "filename": [f"{names[split]}.jpg" for split in ("val", "train")],
        "objectIsPart": np.zeros((3, 2)),
        "something": _RunsWhenRead(root / "made_by_the_pickle"),
    }
    (base / "index_ade20k.pkl").write_bytes(pickle.dumps(index))
    return base


# --- PASCAL-Context ---

# Labels among the 459: 1 accordion and 459 are not of the 59, 2 aeroplane has rank 0 there, 9 bag rank 1.
CONTEXT_MAT = [[0, 1, 2], [9, 459, 459]]


def write_pascal_context(root: Path) -> Path:
    """One picture of each phase, 3 x 2 pixels."""
    from scipy.io import savemat

    base = root / "VOCdevkit" / "VOC2010"
    images, annotations = [], []
    for image_id, (stem, phase) in enumerate((("2008_000002", "train"), ("2008_000008", "val")), start=100):
        write_image(base / "JPEGImages" / f"{stem}.jpg", 3, 2)
        (base / "trainval").mkdir(exist_ok=True)
        savemat(base / "trainval" / f"{stem}.mat", {"LabelMap": np.array(CONTEXT_MAT, dtype=np.uint16)})
        images.append({"image_id": image_id, "file_name": f"{stem}.jpg", "height": 2, "width": 3, "phase": phase})
        annotations += [
            {"image_id": image_id, "category_id": 2, "segmentation": compressed([[1, 1, 1], [0, 0, 0]])},
            # uncompressed, column by column: two 0, three 1, one 0
            {"image_id": image_id, "category_id": 9, "segmentation": {"size": [2, 3], "counts": [2, 3, 1]}},
            {"image_id": image_id, "category_id": 1, "segmentation": compressed([[0, 0, 0], [0, 0, 1]])},
        ]
    write_json(base / "trainval_merged.json", {"images": images, "annos_segmentation": annotations})
    return base


# --- PASCAL VOC ---

VOC_RAW = [[0, 1, 255], [20, 20, 0]]


def write_pascal_voc(root: Path) -> Path:
    base = root / "VOCdevkit" / "VOC2012"
    for split, stem in (("train", "2007_000032"), ("val", "2007_000033")):
        write_image(base / "JPEGImages" / f"{stem}.jpg", 3, 2)
        picture = Image.fromarray(np.array(VOC_RAW, dtype=np.uint8), mode="P")
        picture.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
        (base / "SegmentationClass").mkdir(exist_ok=True)
        picture.save(base / "SegmentationClass" / f"{stem}.png")
        (base / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (base / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(f"{stem}\n")
    return base


# --- LVIS ---


def write_lvis(root: Path) -> Path:
    """Two images, of which one lies in train2017; an aerosol can, and a rare category."""
    for split, number in (("train2017", 11), ("val2017", 12)):
        write_image(root / "coco" / split / f"{number:012d}.jpg", 3, 2)
    path = root / "lvis" / "lvis_v1_val.json"
    address = "http://images.cocodataset.org/"
    write_json(
        path,
        {
            "images": [
                {
                    "id": number, "coco_url": f"{address}{split}/{number:012d}.jpg", "height": 2, "width": 3,
                    "neg_category_ids": [3], "not_exhaustive_category_ids": [2],
                }
                for split, number in (("val2017", 12), ("train2017", 11))
            ],
            "annotations": [
                {
                    "id": number, "image_id": image, "category_id": category, "area": 4, "bbox": [0, 0, 2, 2],
                    "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]],
                }
                for number, image, category in ((1, 12, 1), (2, 11, 1203))
            ],
            "categories": [
                {"id": 1, "name": "aerosol_can", "frequency": "c"}, {"id": 1203, "name": "zucchini", "frequency": "c"},
            ],
        },
    )  # fmt: skip
    return path


# --- Cityscapes ---

CITYSCAPES_IDS = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
# Labels 7 road, 23 sky, 3 outside the image's content; 26001 is a car. By city.
_CITYSCAPES_SEGMENTS = {
    "frankfurt": [[23, 23, 3], [7, 26001, 26001]],
    "lindau": [[23, 7, 7], [7, 7, 24000]],
}


def write_cityscapes(root: Path) -> Path:
    """Two validation images in city folders, and the panoptic json and pngs of cityscapesScripts."""
    base = root / "cityscapes"
    train_id = {label: index for index, label in enumerate(CITYSCAPES_IDS.values())}
    content = {
        "images": [],
        "annotations": [],
        "categories": [
            {"id": label, "name": name, "color": [index, 0, 0], "supercategory": "", "isthing": int(label >= 24)}
            for index, (name, label) in enumerate(CITYSCAPES_IDS.items())
        ],
    }
    for city, segment_ids in _CITYSCAPES_SEGMENTS.items():
        stem = f"{city}_000000_000019"
        write_image(base / "leftImg8bit" / "val" / city / f"{stem}_leftImg8bit.png", 3, 2)
        labels = np.array(segment_ids)
        labels = np.where(labels >= 1000, labels // 1000, labels)
        fine = base / "gtFine" / "val" / city
        write_pixels(fine / f"{stem}_gtFine_labelIds.png", labels)
        write_pixels(fine / f"{stem}_gtFine_labelTrainIds.png", [[train_id.get(i, 255) for i in row] for row in labels])
        write_pixels(fine / f"{stem}_gtFine_color.png", np.zeros((2, 3, 3)))
        kept = np.where(labels == 3, 0, segment_ids)
        colors = np.stack([kept % 256, kept // 256 % 256, kept // 256 // 256], axis=-1)
        write_pixels(base / "gtFine" / "cityscapes_panoptic_val" / f"{stem}_gtFine_panoptic.png", colors)
        content["images"].append(
            {"id": stem, "width": 3, "height": 2, "file_name": f"{stem}_gtFine_leftImg8bit.png"}  # as published
        )
        segments = [
            {
                "id": number, "category_id": number // 1000 if number >= 1000 else number,
                "area": int((kept == number).sum()), "bbox": [0, 0, 1, 1], "iscrowd": 0,
            }
            for number in np.unique(kept[kept > 0]).tolist()
        ]  # fmt: skip
        content["annotations"].append(
            {"image_id": stem, "file_name": f"{stem}_gtFine_panoptic.png", "segments_info": segments}
        )
    write_json(base / "gtFine" / "cityscapes_panoptic_val.json", content)
    return base


# --- Metrics of the ground truth ---


def scores_of_the_ground_truth(name: str, output_dir: Path | None = None) -> dict[str, dict[str, float]]:
    """Evaluate the ground truth of a dataset as if a model had predicted it; images are read by the mapper.

    With `output_dir`, the predictions are saved there.
    """
    cfg = load_config("base/shapes")
    mapper = build_mapper(cfg, is_train=False)
    tasks = ("panoptic", "semantic", "instance")
    evaluator = evaluators_for(name, output_dir, tasks, save_as=None if output_dir is None else Origin())
    evaluator.reset()
    metadata = MetadataCatalog.get(name)
    annotations = _annotations_by_image(metadata)
    for record in DatasetCatalog.get(name):
        mapped = mapper(record)
        hw = (mapped["height"], mapped["width"])
        output = {"instances": _instances(annotations.get(record.get("image_id"), []), metadata, hw)}
        if "pan_seg_file_name" in record:
            segments = [info for info in record["segments_info"] if not info["iscrowd"]]
            output["panoptic_seg"] = (read_panoptic_png(record["pan_seg_file_name"]), segments)
            known = np.isin(output["panoptic_seg"][0], [info["id"] for info in segments])
            output["panoptic_seg"] = (np.where(known, output["panoptic_seg"][0], 0), segments)
            output["sem_seg"] = torch.full(hw, metadata.ignore_label)
            for info in record["segments_info"]:  # of a crowd, the category is known
                output["sem_seg"][read_panoptic_png(record["pan_seg_file_name"]) == info["id"]] = info["category_id"]
        if "sem_seg_file_name" in record:
            output["sem_seg_labels"] = torch.from_numpy(read_label_map(record["sem_seg_file_name"]))
            assert tuple(output["sem_seg_labels"].shape) == hw
        evaluator.process([mapped], [output])
    return evaluator.evaluate()


def _annotations_by_image(metadata) -> dict[Any, list[dict[str, Any]]]:
    by_image: dict[Any, list[dict[str, Any]]] = {}
    path = getattr(metadata, "json_file", None)
    for annotation in read_json(Path(path))["annotations"] if path else ():
        if not annotation.get("iscrowd", 0):
            by_image.setdefault(annotation["image_id"], []).append(annotation)
    return by_image


def _instances(annotations: list[dict[str, Any]], metadata, hw: tuple[int, int]) -> Instances:
    masks = [_mask(annotation["segmentation"], hw) for annotation in annotations]
    boxes = [annotation["bbox"] for annotation in annotations]
    instances = Instances(hw)
    instances.pred_masks = torch.from_numpy(np.array(masks, dtype=bool).reshape(-1, *hw))
    instances.pred_boxes = Boxes(torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]).reshape(-1, 4).float())
    contiguous = metadata.thing_dataset_id_to_contiguous_id
    instances.pred_classes = torch.tensor([contiguous[a["category_id"]] for a in annotations], dtype=torch.int64)
    instances.scores = torch.ones(len(annotations))
    return instances


def _mask(segmentation: Any, hw: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, *hw))
    return coco_mask.decode(segmentation)
