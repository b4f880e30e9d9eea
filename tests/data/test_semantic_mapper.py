"""The semantic mapper on label maps of a 4 x 6 image."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from masqclip_d2.data.mappers import build_mapper


@pytest.fixture
def semantic_record(record, tmp_path):
    """Labels 0, 2 and 300 of 301 categories, and 65535 without a category."""
    labels = np.array([[0, 0, 0, 65535, 2, 2]] * 2 + [[300, 300, 300, 2, 2, 2]] * 2, dtype=np.uint16)
    Image.fromarray(labels).save(tmp_path / "labels.tif")
    return {key: record[key] for key in ("file_name", "image_id")} | {"sem_seg_file_name": str(tmp_path / "labels.tif")}


@pytest.fixture
def semantic_cfg(cfg, forget):
    """Configuration for a dataset of 301 categories."""
    DatasetCatalog.register("semantic_toy", list)
    names = [f"category {number}" for number in range(301)]
    MetadataCatalog.get("semantic_toy").set(stuff_classes=names, ignore_label=65535)
    cfg.DATASETS.TRAIN = ("semantic_toy",)
    cfg.INPUT.DATASET_MAPPER_NAME = "semantic"
    return cfg


def test_semantic_labels_become_one_mask_per_category(semantic_record, semantic_cfg):
    mapped = build_mapper(semantic_cfg, is_train=True)(semantic_record)
    labels = torch.tensor([[0, 0, 0, -1, 2, 2]] * 2 + [[300, 300, 300, 2, 2, 2]] * 2)
    instances = mapped["instances"]
    assert instances.gt_classes.tolist() == [0, 2, 300]
    assert torch.equal(instances.gt_masks.tensor, torch.stack([labels == 0, labels == 2, labels == 300]))
    assert instances.gt_boxes.tensor.tolist() == [[0, 0, 3, 2], [3, 0, 6, 4], [0, 2, 3, 4]]
    assert (mapped["height"], mapped["width"]) == (4, 6)


def test_semantic_labels_are_resized_cropped_and_padded_with_their_image(semantic_record, semantic_cfg):
    semantic_cfg.INPUT.MIN_SIZE_TRAIN = (8,)
    semantic_cfg.INPUT.MAX_SIZE_TRAIN = 100
    semantic_cfg.INPUT.CROP.ENABLED = True
    semantic_cfg.INPUT.CROP.TYPE = "absolute"
    semantic_cfg.INPUT.CROP.SIZE = [8, 4]
    semantic_cfg.INPUT.SIZE_DIVISIBILITY = 8
    semantic_cfg.INPUT.DATASET_MAPPER_NAME = "mask_former_semantic"
    mapper = build_mapper(semantic_cfg, is_train=True)
    seen = set()
    for _ in range(20):
        mapped = mapper(semantic_record)
        masks = mapped["instances"].gt_masks.tensor
        assert mapped["image"].shape == (3, 8, 8) and masks.shape[1:] == (8, 8)
        assert not masks[:, :, 4:].any()  # padding
        assert masks.any(dim=2).any(dim=1).all() and (masks.sum(dim=0) <= 1).all()
        seen.add(tuple(mapped["instances"].gt_classes.tolist()))
    assert {(0, 300), (2,)} <= seen  # what a crop does not show has no mask


def test_large_scale_jitter_of_semantic_labels(semantic_record, semantic_cfg):
    """White image of category 0; padding, transformed as zeros, has no category."""
    Image.new("RGB", (6, 4), "white").save(semantic_record["file_name"])
    Image.new("L", (6, 4), 0).save(semantic_record["sem_seg_file_name"])
    semantic_cfg.INPUT.DATASET_MAPPER_NAME = "semantic_lsj"
    semantic_cfg.INPUT.IMAGE_SIZE = 24
    mapper = build_mapper(semantic_cfg, is_train=True)
    areas = set()
    for _ in range(10):
        mapped = mapper(semantic_record)
        white = (mapped["image"] == 255).all(dim=0)
        assert mapped["instances"].gt_classes.tolist() == [0]
        assert torch.equal(mapped["instances"].gt_masks.tensor, white[None])
        areas.add(int(white.sum()))
    assert len(areas) > 3


def test_a_label_map_without_any_label_has_no_masks(semantic_record, semantic_cfg):
    Image.fromarray(np.full((4, 6), 65535, dtype=np.uint16)).save(semantic_record["sem_seg_file_name"])
    mapped = build_mapper(semantic_cfg, is_train=True)(semantic_record)
    assert mapped["instances"].gt_masks.tensor.shape == (0, 4, 6)
    assert mapped["instances"].gt_classes.shape == (0,)


@pytest.mark.parametrize(
    "labels, match",
    [
        (np.full((4, 6), 301, dtype=np.uint16), "labels.tif holds the label 301, but labels are 0..300, and 65535"),
        (np.zeros((4, 5), dtype=np.uint16), r"labels.tif are 5x4 pixels, but their image .*image.png is 6x4"),
        (np.zeros((4, 6, 3), dtype=np.uint8), "labels.tif has mode RGB; expected one channel"),
    ],
)
def test_wrong_semantic_labels_are_refused(semantic_record, semantic_cfg, labels, match):
    Image.fromarray(labels).save(semantic_record["sem_seg_file_name"])
    with pytest.raises(ValueError, match=match):
        build_mapper(semantic_cfg, is_train=True)(semantic_record)


def test_categories_and_ignore_label_come_from_the_metadata(semantic_record, semantic_cfg):
    semantic_cfg.DATASETS.TRAIN = ("nobody_registered_this",)
    with pytest.raises(ValueError, match="'nobody_registered_this' has no metadata 'stuff_classes'.*register_semantic"):
        build_mapper(semantic_cfg, is_train=True)
    assert "instances" not in build_mapper(semantic_cfg, is_train=False)(semantic_record)
    given = build_mapper(semantic_cfg, is_train=False, with_ground_truth=True, dataset_names=["semantic_toy"])
    assert given(semantic_record)["instances"].gt_classes.tolist() == [0, 2, 300]
    MetadataCatalog.get("semantic_toy_2").set(stuff_classes=["a"], ignore_label=255)
    semantic_cfg.DATASETS.TRAIN = ("semantic_toy", "semantic_toy_2")
    with pytest.raises(ValueError, match="the same ignore label, but have semantic_toy: 65535, semantic_toy_2: 255"):
        build_mapper(semantic_cfg, is_train=True)
    MetadataCatalog.remove("semantic_toy_2")
