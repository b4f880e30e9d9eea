"""Mappers on hand-made records of a 4 x 6 image."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, build_detection_test_loader, build_detection_train_loader
from detectron2.structures import BitMasks
from PIL import Image

from masqclip_d2.data.mappers import (
    MAPPERS,
    InstanceMapper,
    PanopticMapper,
    _tight_boxes,
    build_mapper,
    register_mapper,
)
from tests.data.panoptic_image import IDS, SEGMENTS, save_ids


def _expected_masks():
    return torch.from_numpy(np.stack([IDS == 255, IDS == 70000, IDS == 300]))


def test_panoptic_without_augmentation(record, cfg):
    mapped = PanopticMapper(cfg, True)(record)
    assert (mapped["image_id"], mapped["height"], mapped["width"]) == (12, 4, 6)
    assert mapped["image"].dtype == torch.uint8
    assert mapped["image"].shape == (3, 4, 6)
    assert mapped["image"][:, 3, 2].tolist() == [120, 80, 7]  # RGB
    instances = mapped["instances"]
    assert instances.image_size == (4, 6)
    assert torch.equal(instances.gt_masks.tensor, _expected_masks())  # the crowd is left out
    assert instances.gt_masks.tensor.dtype == torch.bool
    assert instances.gt_classes.tolist() == [5, 38, 5]
    assert instances.gt_boxes.tensor.tolist() == [[0, 0, 3, 2], [0, 2, 3, 4], [3, 2, 6, 4]]
    expected = [[5, 5, 5, 255, 255, 255]] * 2 + [[38, 38, 38, 5, 5, 5]] * 2
    assert mapped["sem_seg"].tolist() == expected


def test_the_record_is_not_changed(record, cfg):
    before = {**record, "segments_info": [dict(info) for info in SEGMENTS]}
    PanopticMapper(cfg, True)(record)
    assert record == before


def test_flip_applies_to_image_and_masks(record, cfg):
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    mapper = PanopticMapper(cfg, True)
    found = set()
    for _ in range(20):
        mapped = mapper(record)
        flipped = mapped["image"][1, 0, 0].item() == 200  # green grows with x
        found.add(flipped)
        expected = _expected_masks().flip(-1) if flipped else _expected_masks()
        assert torch.equal(mapped["instances"].gt_masks.tensor, expected)
    assert found == {True, False}


def test_shortest_edge_resizes_image_and_masks(record, cfg):
    cfg.INPUT.MIN_SIZE_TRAIN = (8,)
    cfg.INPUT.MAX_SIZE_TRAIN = 100
    mapped = PanopticMapper(cfg, True)(record)
    assert mapped["image"].shape == (3, 8, 12)
    expected = _expected_masks().repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(mapped["instances"].gt_masks.tensor, expected)
    assert (mapped["height"], mapped["width"]) == (4, 6)  # of the file


def test_padding_to_a_size_belongs_to_no_mask(record, cfg):
    cfg.INPUT.SIZE_DIVISIBILITY = 8
    mapped = PanopticMapper(cfg, True)(record)
    assert mapped["image"].shape == (3, 8, 8)
    assert (mapped["image"][:, 4:] == 128).all()
    assert (mapped["image"][:, :, 6:] == 128).all()
    masks = mapped["instances"].gt_masks.tensor
    assert mapped["instances"].image_size == (8, 8)
    assert torch.equal(masks[:, :4, :6], _expected_masks())
    assert masks.sum() == _expected_masks().sum()
    assert (mapped["sem_seg"][4:] == 255).all()
    assert (mapped["sem_seg"][:, 6:] == 255).all()


@pytest.mark.parametrize("name", ["panoptic_lsj", "coco_panoptic_lsj"])
def test_large_scale_jitter(record, cfg, name):
    """A white image of one white segment (id 255 255 255): other pixels are padding and have no label."""
    save_ids(np.full((4, 6), 16777215), record["pan_seg_file_name"])
    Image.new("RGB", (6, 4), "white").save(record["file_name"])
    record["segments_info"] = [{"id": 16777215, "category_id": 3, "iscrowd": 0}]
    cfg.INPUT.DATASET_MAPPER_NAME = name
    cfg.INPUT.IMAGE_SIZE = 24
    mapper = build_mapper(cfg, is_train=True)
    areas = set()
    np.random.seed(0)
    for _ in range(10):
        mapped = mapper(record)
        assert mapped["image"].shape == (3, 24, 24)
        white = (mapped["image"] == 255).all(dim=0)
        assert (mapped["image"][:, ~white] == 128).all()
        assert torch.equal(mapped["instances"].gt_masks.tensor, white[None])
        assert torch.equal(mapped["sem_seg"] == 3, white)
        areas.add(int(white.sum()))
    assert len(areas) > 3  # scales from 0.1 to 2
    assert max(areas) == 24 * 24 or max(areas) == 24 * 16


def test_segments_that_cropping_removes_are_dropped(record, cfg):
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = [1, 2]
    for _ in range(20):
        mapped = PanopticMapper(cfg, True)(record)
        assert mapped["image"].shape == (3, 1, 2)
        assert mapped["instances"].gt_masks.tensor.flatten(1).any(dim=1).all()
        assert len(mapped["instances"]) <= 2


def test_color_augmentation_changes_colors_only(record, cfg):
    cfg.INPUT.COLOR_AUG_SSD = True
    mapper = PanopticMapper(cfg, True)
    images = [mapper(record) for _ in range(8)]
    assert any(not torch.equal(images[0]["image"], other["image"]) for other in images[1:])
    assert all(torch.equal(other["instances"].gt_masks.tensor, _expected_masks()) for other in images)


def test_at_test_the_image_is_resized_without_ground_truth(record, cfg):
    cfg.INPUT.MIN_SIZE_TEST = 8
    cfg.INPUT.COLOR_AUG_SSD = True
    mapped = build_mapper(cfg, is_train=False)(record)
    assert set(mapped) == {"image", "file_name", "image_id", "height", "width"}
    assert mapped["image"].shape == (3, 8, 12)
    assert (mapped["height"], mapped["width"]) == (4, 6)


def test_ground_truth_at_test_is_in_the_frame_of_the_image(record, cfg):
    cfg.INPUT.MIN_SIZE_TEST = 8
    by_argument = build_mapper(cfg, is_train=False, with_ground_truth=True)(record)
    assert by_argument["instances"].gt_masks.tensor.shape == (3, 8, 12)
    cfg.MODEL.MASQCLIP.PROPOSER.SOURCE = "ground_truth"
    by_source = build_mapper(cfg, is_train=False)(record)
    assert torch.equal(by_source["instances"].gt_masks.tensor, by_argument["instances"].gt_masks.tensor)


def test_an_image_without_ground_truth_has_no_instances(record, cfg):
    record["segments_info"] = []
    mapped = PanopticMapper(cfg, True)(record)
    assert len(mapped["instances"]) == 0
    assert mapped["instances"].gt_masks.tensor.shape == (0, 4, 6)
    assert mapped["instances"].gt_boxes.tensor.shape == (0, 4)
    assert (mapped["sem_seg"] == 255).all()


POLYGON = [[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]]  # columns 1..3, rows 1..2
RUNS = {"size": [4, 6], "counts": [2, 2, 20]}  # column-wise: rows 2, 3 of the first column


def _compressed(runs):
    from pycocotools import mask

    return mask.frPyObjects(runs, *runs["size"])


def _annotation(segmentation, category_id=0, iscrowd=0):
    return {"segmentation": segmentation, "category_id": category_id, "iscrowd": iscrowd, "bbox": [0, 0, 1, 1]}


@pytest.mark.parametrize("runs", [RUNS, _compressed(RUNS)], ids=["plain runs", "compressed runs"])
def test_instances_from_polygons_and_runs(record, cfg, runs):
    record["annotations"] = [_annotation(POLYGON, 4), _annotation(runs, 9), _annotation(POLYGON, 1, iscrowd=1)]
    mapped = InstanceMapper(cfg, True)(record)
    instances = mapped["instances"]
    expected = torch.zeros(2, 4, 6, dtype=torch.bool)
    expected[0, 1:3, 1:4] = True
    expected[1, 2:4, 0] = True
    assert torch.equal(instances.gt_masks.tensor, expected)
    assert instances.gt_classes.tolist() == [4, 9]
    assert instances.gt_boxes.tensor.tolist() == [[1, 1, 4, 3], [0, 2, 1, 4]]
    assert "sem_seg" not in mapped


def test_overlapping_instances_keep_their_masks(record, cfg):
    record["annotations"] = [_annotation(POLYGON), _annotation(POLYGON)]
    masks = InstanceMapper(cfg, True)(record)["instances"].gt_masks.tensor
    assert torch.equal(masks[0], masks[1])


def test_instances_with_padding_and_none_at_all(record, cfg):
    cfg.INPUT.DATASET_MAPPER_NAME = "coco_instance_lsj"
    cfg.INPUT.IMAGE_SIZE = 16
    record["annotations"] = [_annotation([[0.0, 0.0, 6.0, 0.0, 6.0, 4.0, 0.0, 4.0]])]
    Image.new("RGB", (6, 4), "white").save(record["file_name"])
    mapped = build_mapper(cfg, is_train=True)(record)
    assert torch.equal(mapped["instances"].gt_masks.tensor[0], (mapped["image"] == 255).all(dim=0))
    record["annotations"] = []
    mapped = build_mapper(cfg, is_train=True)(record)
    assert mapped["instances"].gt_masks.tensor.shape == (0, 16, 16)


@pytest.mark.parametrize(
    "segmentation, message",
    [(None, "has no mask"), ([], "has no mask"), ({"size": [9, 9], "counts": [81]}, "is 9x9 pixels.*image is 6x4")],
)
def test_wrong_instance_masks_are_refused(record, cfg, segmentation, message):
    record["annotations"] = [_annotation(segmentation)]
    with pytest.raises(ValueError, match=message):
        InstanceMapper(cfg, True)(record)


class TestBadRecords:
    def test_ground_truth_without_image(self, record, cfg):
        record["file_name"] = record["file_name"].replace("image", "gone")
        with pytest.raises(FileNotFoundError, match="gone.png does not exist"):
            PanopticMapper(cfg, True)(record)

    def test_image_without_its_png(self, record, cfg):
        record["pan_seg_file_name"] += ".gone"
        with pytest.raises(FileNotFoundError, match="labels.png.gone does not exist"):
            PanopticMapper(cfg, True)(record)

    def test_labels_of_another_size(self, record, cfg):
        save_ids(IDS[:3], record["pan_seg_file_name"])
        with pytest.raises(ValueError, match="labels.png are 6x3 pixels.*is 6x4"):
            PanopticMapper(cfg, True)(record)

    def test_image_of_another_size_than_in_the_json(self, record, cfg):
        record["height"] = 5
        with pytest.raises(ValueError, match="image.png"):
            PanopticMapper(cfg, True)(record)

    @pytest.mark.parametrize("mapper, key", [(PanopticMapper, "segments_info"), (InstanceMapper, "annotations")])
    def test_a_dataset_of_another_kind(self, record, cfg, mapper, key):
        record.pop("segments_info")
        with pytest.raises(ValueError, match=f"has no {key}.*INPUT.DATASET_MAPPER_NAME"):
            mapper(cfg, True)(record)

    def test_unknown_mapper_lists_the_known_ones(self, cfg):
        cfg.INPUT.DATASET_MAPPER_NAME = "panoptik"
        with pytest.raises(ValueError, match="'panoptik'; known: panoptic, .*instance_lsj, .*--import FILE"):
            build_mapper(cfg, is_train=True)

    def test_bgr_is_refused(self, cfg):
        cfg.INPUT.FORMAT = "BGR"
        with pytest.raises(ValueError, match="INPUT.FORMAT is 'BGR'.*RGB"):
            build_mapper(cfg, is_train=True)

    def test_unknown_flip(self, cfg):
        cfg.INPUT.RANDOM_FLIP = "diagonal"
        with pytest.raises(ValueError, match="INPUT.RANDOM_FLIP is 'diagonal'"):
            build_mapper(cfg, is_train=True)


class TestRegistration:
    @pytest.fixture(autouse=True)
    def _forget(self):
        before = dict(MAPPERS)
        yield
        MAPPERS.clear()
        MAPPERS.update(before)

    def test_a_mapper_of_the_user(self, record, cfg):
        @register_mapper("names_only")
        class NamesOnly:
            def __init__(self, cfg, is_train):
                self.is_train = is_train

            def __call__(self, record):
                return {"file_name": record["file_name"], "is_train": self.is_train}

        cfg.INPUT.DATASET_MAPPER_NAME = "names_only"
        assert build_mapper(cfg, is_train=True)(record) == {"file_name": record["file_name"], "is_train": True}

    def test_a_segmentation_mapper_of_the_user_gets_ground_truth_on_request(self, record, cfg):
        @register_mapper("things_only")
        class ThingsOnly(PanopticMapper):
            def ground_truth(self, record, image_hw, transforms):
                things = [info for info in record["segments_info"] if info["isthing"]]
                return super().ground_truth({**record, "segments_info": things}, image_hw, transforms)

        cfg.INPUT.DATASET_MAPPER_NAME = "things_only"
        assert build_mapper(cfg, is_train=True)(record)["instances"].gt_classes.tolist() == [5, 5]
        assert "instances" not in build_mapper(cfg, is_train=False)(record)
        given = build_mapper(cfg, is_train=False, with_ground_truth=True)(record)
        assert given["instances"].gt_classes.tolist() == [5, 5]

    def test_a_taken_name_is_refused(self):
        with pytest.raises(ValueError, match="already is a mapper panoptic; choose another name"):
            register_mapper("my_panoptic", "panoptic")(PanopticMapper)
        assert "my_panoptic" not in MAPPERS


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shapes_through_detectron2s_loaders(shapes_datasets, cfg, num_workers):
    records = DatasetCatalog.get(shapes_datasets["shapes_train"])
    loader = build_detection_train_loader(
        records, mapper=build_mapper(cfg, is_train=True), total_batch_size=4, num_workers=num_workers
    )
    batch = next(iter(loader))
    assert len(batch) == 4
    for mapped in batch:
        assert mapped["image"].shape[1:] == (mapped["height"], mapped["width"])
        classes = mapped["sem_seg"][mapped["sem_seg"] != 255]
        assert set(classes.tolist()) == set(mapped["instances"].gt_classes.tolist())
    test_loader = build_detection_test_loader(
        DatasetCatalog.get(shapes_datasets["shapes_val"]),
        mapper=build_mapper(cfg, is_train=False),
        num_workers=num_workers,
    )
    assert [batch[0]["image_id"] for batch in test_loader] == list(range(1, 9))


def test_crops_chosen_by_content_are_refused(cfg):
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.75
    with pytest.raises(ValueError, match="SINGLE_CATEGORY_MAX_AREA is 0.75"):
        build_mapper(cfg, is_train=True)


def test_boxes_are_those_of_detectron2():
    generator = np.random.default_rng(0)
    masks = np.zeros((20, 40, 50), dtype=bool)
    for mask in masks[1:]:  # the first one stays empty
        mask[generator.random((40, 50)) < 0.002] = True
    boxes = _tight_boxes(masks)
    assert torch.equal(boxes, BitMasks(torch.from_numpy(masks)).get_bounding_boxes().tensor)
    assert boxes.dtype == torch.float32 and not boxes[0].any() and len(boxes.unique(dim=0)) > 15
    assert _tight_boxes(masks[:0]).shape == (0, 4)
