"""A result that tests of file formats share: a ring, an object of two parts, and overlapping stuff."""

from __future__ import annotations

import numpy as np

from masqclip_d2.results import Segment, Segmentation
from masqclip_d2.vocabulary import Vocabulary

HW = (40, 60)
VOCABULARY = Vocabulary.from_names("cat,dog", stuff="grass & <sky>")


def example(task: str = "panoptic") -> Segmentation:
    """Three segments of 40 x 60 pixels; the third one overlaps the second by 20 pixels."""
    ring, parts, stuff = np.zeros((3, *HW), dtype=bool)
    ring[5:25, 5:25] = True
    ring[10:15, 10:20] = False
    parts[2:12, 30:40] = parts[2:12, 45:55] = True
    stuff[30:, :] = True
    stuff[10:12, 30:40] = True
    segments = [
        Segment("dog", 1, True, 0.9, ring),
        Segment("cat", 0, True, 0.8, parts),
        Segment("grass & <sky>", 2, False, 0.2, stuff),
    ]
    image = np.random.default_rng(0).integers(0, 256, (*HW, 3), dtype=np.uint8)
    return Segmentation(image, VOCABULARY, task, segments)
