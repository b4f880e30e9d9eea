import numpy as np
import pytest
from PIL import Image

from masqclip_d2.config import get_masqclip_cfg
from masqclip_d2.data.mappers import build_mapper
from masqclip_d2.shapes.clip_pretraining import CaptionMapper


@pytest.fixture
def wide(tmp_path):
    """Green grows with x from 0 to 190 over 20 x 10 pixels."""
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[..., 1] = 10 * np.arange(20)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    return {"file_name": str(tmp_path / "wide.png"), "image_id": 1, "caption": "a striped star"}


def test_middle_square_at_test(wide):
    mapped = CaptionMapper(resolution=10, is_train=False)(wide)
    assert mapped["captions"] == ["a striped star"]
    assert mapped["image"].shape == (3, 10, 10)
    assert mapped["image"][1, 0].tolist() == list(range(50, 150, 10))


def test_random_square_and_flip_in_training(wide):
    mapper = CaptionMapper(resolution=10, is_train=True)
    rows = {tuple(mapper(wide)["image"][1, 0].tolist()) for _ in range(60)}
    assert any(row[0] < row[-1] for row in rows)
    assert any(row[0] > row[-1] for row in rows)
    assert len({min(row) for row in rows}) > 5
    assert all(max(row) - min(row) == 90 for row in rows)


def test_resolution_by_config(wide):
    cfg = get_masqclip_cfg()
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.DATASET_MAPPER_NAME = "captions"
    cfg.INPUT.IMAGE_SIZE = 32
    assert build_mapper(cfg, is_train=True)(wide)["image"].shape == (3, 32, 32)


def test_a_record_without_caption(wide):
    del wide["caption"]
    with pytest.raises(ValueError, match="wide.png has no caption"):
        CaptionMapper(resolution=10, is_train=True)(wide)


def test_bgr_is_refused():
    cfg = get_masqclip_cfg()
    cfg.INPUT.FORMAT = "BGR"
    with pytest.raises(ValueError, match="INPUT.FORMAT is 'BGR'.*RGB"):
        CaptionMapper(cfg, True)
