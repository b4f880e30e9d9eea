"""A record with its files, and a configuration without resizing and flips, for the mappers."""

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.config import get_masqclip_cfg
from tests.data.panoptic_image import IDS, SEGMENTS, save_ids


@pytest.fixture
def record(tmp_path):
    """Pixel (y, x) of the image is (40 y, 40 x, 7)."""
    y, x = np.mgrid[:4, :6]
    Image.fromarray(np.stack([40 * y, 40 * x, np.full_like(x, 7)], axis=-1).astype(np.uint8)).save(
        tmp_path / "image.png"
    )
    save_ids(IDS, tmp_path / "labels.png")
    return {
        "file_name": str(tmp_path / "image.png"),
        "image_id": 12,
        "height": 4,
        "width": 6,
        "pan_seg_file_name": str(tmp_path / "labels.png"),
        "segments_info": SEGMENTS,
    }


@pytest.fixture
def cfg():
    """No resizing, no flip."""
    cfg = get_masqclip_cfg()
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN = (0,)
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.INPUT.RANDOM_FLIP = "none"
    return cfg
