import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from masqclip_d2.config import load_config
from masqclip_d2.shapes.clip_pretraining.picture_mapper import PictureMapper


@pytest.fixture
def cfg():
    return load_config("shapes/clip_pictures", [])


def test_every_record_becomes_a_picture_of_its_kind(cfg):
    mapper = PictureMapper(cfg, True)
    records = DatasetCatalog.get("masqclip_shapes_pictures")
    assert len(records) == cfg.SOLVER.IMS_PER_BATCH  # so that every batch has the same mix
    seen = set()
    for record in {record["kind"]: record for record in records}.values():
        mapped = mapper(record)
        seen.add(record["kind"])
        side = 128 if record["kind"] == "closeup" else 256
        assert mapped["image"].shape == (3, side, side) and mapped["image"].dtype == torch.uint8
        assert ("regions" in mapped) == (record["kind"] in ("collage", "canvas"))
        assert "image" not in record  # the record itself is unchanged
    assert seen == {"closeup", "collage", "canvas", "scene"}


def test_pictures_follow_numpys_random_state(cfg):
    images = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        images.append(PictureMapper(cfg, True)({"kind": "closeup"})["image"])
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_other_sizes_are_refused(cfg):
    cfg.INPUT.IMAGE_SIZE = 200
    with pytest.raises(ValueError, match="multiple of 128"):
        PictureMapper(cfg, True)
