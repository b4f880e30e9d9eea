"""A small dataset on disk, registered for one test: gaps in the ids, a crowd, void pixels, an image without things."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from PIL import Image
from pycocotools import mask as coco_mask

from masqclip_d2.data.label_maps import id2rgb
from masqclip_d2.fusion import boxes_from_masks

# dataset id, name, isthing; contiguous ids are positions
CATEGORIES = [(1, "cat", 1), (5, "dog", 1), (92, "grass", 0), (200, "sky", 0)]
HW = (24, 32)
IMAGE_IDS = (7, 8, 11)


def segment_maps():
    """Per image (H, W) segment ids (index into the segments plus 1, 0 = void) and segments (contiguous, iscrowd)."""
    first = np.zeros(HW, dtype=np.int64)
    first[:12], first[12:] = 4, 3  # sky above grass
    first[4:12, 2:10], first[10:20, 14:24] = 1, 2
    first[:, 30:] = 0
    second = np.full(HW, 1, dtype=np.int64)
    second[2:6, 2:6], second[10:18, 4:20] = 2, 3
    third = np.full(HW, 1, dtype=np.int64)
    third[20:] = 2
    return [
        (first, [(0, 0), (1, 0), (2, 0), (3, 0)]),
        (second, [(2, 0), (0, 0), (0, 1)]),  # two cats, one of them a crowd
        (third, [(3, 0), (2, 0)]),
    ]


class TinyDataset:
    """`name`, `metadata`, `records`; `perfect(record)` is the ground truth as a model's output."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        self.maps = dict(zip(IMAGE_IDS, segment_maps(), strict=True))
        self.records = [self._write_image(image_id) for image_id in IMAGE_IDS]
        self._write_json()
        DatasetCatalog.register(name, lambda: [dict(record) for record in self.records])
        self.metadata = MetadataCatalog.get(name)
        contiguous = {c[0]: i for i, c in enumerate(CATEGORIES)}
        self.metadata.set(
            thing_classes=["cat", "dog"],
            stuff_classes=[c[1] for c in CATEGORIES],
            thing_dataset_id_to_contiguous_id={1: 0, 5: 1},
            stuff_dataset_id_to_contiguous_id=contiguous,
            panoptic_json=str(folder / "panoptic.json"),
            panoptic_root=str(folder),
            json_file=str(folder / "instances.json"),
            evaluator_type="coco_panoptic_seg",
            ignore_label=255,
            vocabulary={
                "names": [name for _, name, _ in CATEGORIES],
                "is_thing": [bool(thing) for *_, thing in CATEGORIES],
                "groups": {"base": [0, 2, 3], "novel": [1]},
            },
        )

    def segment_info(self, image_id):
        segment_map, segments = self.maps[image_id]
        return [
            {
                "id": index * 1000 + 5,  # needs more than one color channel
                "category_id": CATEGORIES[category][0],
                "area": int((segment_map == index).sum()),
                "iscrowd": crowd,
            }
            for index, (category, crowd) in enumerate(segments, start=1)
        ]

    def perfect(self, record):
        segment_map, segments = self.maps[record["image_id"]]
        labels = np.array([255] + [category for category, _ in segments])[segment_map]
        things = [i for i, (category, crowd) in enumerate(segments, start=1) if category < 2 and not crowd]
        masks = torch.from_numpy(np.stack([segment_map == i for i in things]) if things else np.zeros((0, *HW), bool))
        instances = Instances(HW, pred_masks=masks, scores=torch.linspace(1, 0.5, len(things)))
        instances.pred_classes = torch.tensor([segments[i - 1][0] for i in things], dtype=torch.int64)
        instances.pred_boxes = Boxes(boxes_from_masks(masks))
        return {
            "panoptic_seg": (
                torch.from_numpy(segment_map).int(),
                [
                    {"id": i, "category_id": category, "isthing": category < 2}
                    for i, (category, _) in enumerate(segments, start=1)
                ],
            ),
            "sem_seg_labels": torch.from_numpy(labels),
            "instances": instances,
            "proposals": Instances(HW, pred_masks=masks, scores=instances.scores),
        }

    def evaluate(self, evaluator, change=None):
        """Feed the perfect outputs, each changed in place by `change(record, output)`, one image at a time."""
        for record in self.records:
            output = self.perfect(record)
            if change is not None:
                change(record, output)
            evaluator.process([record], [output])
        return evaluator.evaluate()

    def _write_image(self, image_id):
        segment_map, segments = self.maps[image_id]
        Image.fromarray(id2rgb(np.where(segment_map > 0, segment_map * 1000 + 5, 0))).save(
            self.folder / f"{image_id}.png"
        )
        labels = np.array([255] + [category for category, _ in segments])[segment_map]
        Image.fromarray(labels.astype(np.uint8)).save(self.folder / f"{image_id}_sem.png")
        return {
            "image_id": image_id,
            "file_name": str(self.folder / f"{image_id}.jpg"),
            "height": HW[0],
            "width": HW[1],
            "sem_seg_file_name": str(self.folder / f"{image_id}_sem.png"),
        }

    def _write_json(self):
        images = [{"id": i, "file_name": f"{i}.jpg", "height": HW[0], "width": HW[1]} for i in IMAGE_IDS]
        categories = [{"id": i, "name": name, "isthing": thing} for i, name, thing in CATEGORIES]
        panoptic = [{"image_id": i, "file_name": f"{i}.png", "segments_info": self.segment_info(i)} for i in IMAGE_IDS]
        instances = []
        for i in IMAGE_IDS:
            segment_map, segments = self.maps[i]
            for index, (category, crowd) in enumerate(segments, start=1):
                if category >= 2:
                    continue
                mask = segment_map == index
                rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                rows, columns = np.nonzero(mask)
                box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                instances.append(
                    {
                        "id": len(instances) + 1,
                        "image_id": i,
                        "category_id": CATEGORIES[category][0],
                        "iscrowd": crowd,
                        "area": int(mask.sum()),
                        "bbox": [int(v) for v in box],
                        "segmentation": {"size": list(HW), "counts": rle["counts"].decode()},
                    }
                )
        content = {"images": images, "categories": categories, "annotations": panoptic}
        (self.folder / "panoptic.json").write_text(json.dumps(content))
        content = {"info": {}, "images": images, "categories": categories[:2], "annotations": instances}
        (self.folder / "instances.json").write_text(json.dumps(content))


@pytest.fixture
def tiny_dataset(tmp_path, request):
    name = f"tiny_{request.node.name}"
    yield TinyDataset(name, tmp_path)
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def two_processes(monkeypatch):
    """`merge(evaluator_a, evaluator_b)`: the result of process 0 with `evaluator_a`; process 1 has `evaluator_b`."""

    def merge(first, second):
        sent = []
        monkeypatch.setattr(comm, "gather", lambda data, dst=0: sent.append(data) or [])
        monkeypatch.setattr(comm, "is_main_process", lambda: False)
        assert second.evaluate() is None
        monkeypatch.setattr(comm, "gather", lambda data, dst=0: [data, *sent])
        monkeypatch.setattr(comm, "is_main_process", lambda: True)
        return first.evaluate()

    return merge
