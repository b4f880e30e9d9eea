"""Panoptic annotation of a 4 x 6 image, written by hand."""

import numpy as np
from PIL import Image

# Segment ids need all three bytes; 255 and 16777215 would be hit by careless padding; 7 is a crowd; 0 is void.
IDS = np.array(
    [
        [255, 255, 255, 0, 7, 7],
        [255, 255, 255, 0, 7, 7],
        [70000, 70000, 70000, 300, 300, 300],
        [70000, 70000, 70000, 300, 300, 300],
    ]
)
SEGMENTS = [
    {"id": 255, "category_id": 5, "isthing": True, "iscrowd": 0},
    {"id": 70000, "category_id": 38, "isthing": False, "iscrowd": 0},
    {"id": 300, "category_id": 5, "isthing": True, "iscrowd": 0},
    {"id": 7, "category_id": 2, "isthing": True, "iscrowd": 1},
]


def save_ids(ids, path):
    Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)).save(path)
