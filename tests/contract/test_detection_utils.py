"""detectron2.data.detection_utils and DatasetMapper: from a dataset dict to a model input."""

import masqclip_d2  # noqa: F401  isort: skip
import copy

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json, load_sem_seg
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from PIL import Image
from pycocotools import mask as mask_api

PERSON_RGB = (200, 40, 40)
POLYGON = [10.0, 5, 20, 5, 20, 25, 10, 25]


def close(pixel, expected):
    """JPEG compression changes colors slightly."""
    return np.abs(np.asarray(pixel, dtype=int) - np.asarray(expected)).max() <= 6


class TestReadImage:
    def test_channel_orders(self, synthetic_coco):
        path = f"{synthetic_coco.image_root}/landscape.jpg"
        rgb, bgr, grey = (utils.read_image(path, format=f) for f in ("RGB", "BGR", "L"))
        assert rgb.shape == bgr.shape == (40, 60, 3) and grey.shape == (40, 60, 1)
        assert rgb.dtype == bgr.dtype == grey.dtype == np.uint8
        assert close(rgb[15, 15], PERSON_RGB) and close(bgr[15, 15], PERSON_RGB[::-1])
        assert np.array_equal(rgb[:, :, ::-1], bgr)

    def test_own_format(self, synthetic_coco):
        assert utils.read_image(f"{synthetic_coco.sem_seg_root}/square.png").shape == (32, 32)

    def test_exif(self, synthetic_coco):
        path = f"{synthetic_coco.image_root}/rotated.jpg"
        assert Image.open(path).size == (40, 30), "stored lying down"
        image = utils.read_image(path, format="RGB")
        assert image.shape == (40, 30, 3)
        assert close(image[8, 6], PERSON_RGB) and close(image[28, 12], PERSON_RGB)
        assert close(image[-1, 0], (10, 10, 10)), "void rows are at the bottom"

    @pytest.mark.parametrize(
        ("orientation", "corner"),  # (row, column) in the upright image of the pixel stored at the top left
        list(enumerate([(0, 0), (0, -1), (-1, -1), (-1, 0), (0, 0), (0, -1), (-1, -1), (-1, 0)], start=1)),
    )
    def test_all_exif_orientations(self, tmp_path, orientation, corner):
        pixels = np.zeros((3, 5, 3), np.uint8)
        pixels[0, 0] = 255
        pixels[0, 1] = 100  # distinguishes rotation from mirroring
        image = Image.fromarray(pixels)
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(tmp_path / "a.png", exif=exif)
        upright = utils.read_image(str(tmp_path / "a.png"), format="RGB")[:, :, 0]
        assert upright.shape == ((3, 5) if orientation < 5 else (5, 3))
        assert upright[corner] == 255
        row, column = corner
        neighbor = (row, 1 if column == 0 else -2) if orientation < 5 else (1 if row == 0 else -2, column)
        assert upright[neighbor] == 100

    def test_palette_and_alpha(self, tmp_path):
        Image.new("RGBA", (3, 2), (200, 100, 50, 0)).save(tmp_path / "alpha.png")
        Image.new("RGB", (3, 2), (200, 100, 50)).quantize(4).save(tmp_path / "palette.png")
        for name in ("alpha.png", "palette.png"):
            assert utils.read_image(str(tmp_path / name), format="RGB")[0, 0].tolist() == [200, 100, 50]


def test_check_image_size():
    image = np.zeros((4, 6, 3), np.uint8)
    dataset_dict = {"file_name": "a.jpg"}
    utils.check_image_size(dataset_dict, image)
    assert (dataset_dict["height"], dataset_dict["width"]) == (4, 6)
    with pytest.raises(utils.SizeMismatchError, match="a.jpg"):
        utils.check_image_size({"file_name": "a.jpg", "height": 6, "width": 4}, image)
    assert issubclass(utils.SizeMismatchError, ValueError)


class TestTransformAnnotations:
    def annotation(self, **changes):
        return {"bbox": [10, 5, 10, 20], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, **changes}

    def test_box(self):
        flip = T.HFlipTransform(60)
        annotation = self.annotation()
        assert utils.transform_instance_annotations(annotation, flip, (40, 60)) is annotation
        assert annotation["bbox"].tolist() == [40, 5, 50, 25]
        assert annotation["bbox_mode"] == BoxMode.XYXY_ABS

    def test_box_is_clipped(self):
        crop = T.CropTransform(15, 10, 10, 10)
        annotation = utils.transform_instance_annotations(self.annotation(), [crop], (10, 10))
        assert annotation["bbox"].tolist() == [0, 0, 5, 10]

    def test_polygons(self):
        transforms = [T.HFlipTransform(60), T.ResizeTransform(40, 60, 20, 120)]
        annotation = self.annotation(segmentation=[POLYGON, POLYGON])
        first, second = utils.transform_instance_annotations(annotation, transforms, (20, 120))["segmentation"]
        assert first.tolist() == second.tolist() == [100, 2.5, 80, 2.5, 80, 12.5, 100, 12.5]

    def test_rle(self):
        mask = np.zeros((40, 60), np.uint8)
        mask[5:25, 10:20] = 1
        rle = mask_api.encode(np.asfortranarray(mask))
        annotation = self.annotation(segmentation=rle)
        flipped = utils.transform_instance_annotations(annotation, T.HFlipTransform(60), (40, 60))["segmentation"]
        assert flipped.dtype == np.uint8 and np.array_equal(flipped, mask[:, ::-1])
        with pytest.raises(AssertionError):
            utils.transform_instance_annotations(self.annotation(segmentation=rle), T.NoOpTransform(), (40, 61))

    def test_other_segmentations(self):
        with pytest.raises(ValueError):
            utils.transform_instance_annotations(self.annotation(segmentation="x"), T.NoOpTransform(), (40, 60))


class TestAnnotationsToInstances:
    def annotation(self, segmentation=None, **changes):
        annotation = {"bbox": np.array([10.0, 5, 20, 25]), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 3, **changes}
        return annotation if segmentation is None else {**annotation, "segmentation": segmentation}

    def test_boxes_only(self):
        instances = utils.annotations_to_instances([self.annotation(), self.annotation(category_id=0)], (40, 60))
        assert instances.gt_boxes.tensor.tolist() == [[10, 5, 20, 25]] * 2
        assert instances.gt_boxes.tensor.dtype == torch.float32
        assert instances.gt_classes.tolist() == [3, 0] and instances.gt_classes.dtype == torch.int64
        assert not instances.has("gt_masks") and instances.image_size == (40, 60)

    def test_nothing(self):
        instances = utils.annotations_to_instances([], (40, 60), mask_format="bitmask")
        assert instances.gt_boxes.tensor.shape == (0, 4) and instances.gt_classes.shape == (0,)
        assert instances.gt_classes.dtype == torch.int64
        assert not instances.has("gt_masks")

    def test_polygons(self):
        instances = utils.annotations_to_instances([self.annotation([np.array(POLYGON)])], (40, 60))
        assert isinstance(instances.gt_masks, PolygonMasks) and instances.gt_masks.area().tolist() == [200]

    def test_bitmasks_from_polygons_rle_and_arrays(self):
        mask = np.zeros((40, 60), np.uint8)
        mask[5:25, 10:20] = 1
        rle = mask_api.encode(np.asfortranarray(mask))
        annotations = [self.annotation(s) for s in ([np.array(POLYGON)], rle, mask)]
        instances = utils.annotations_to_instances(annotations, (40, 60), mask_format="bitmask")
        assert isinstance(instances.gt_masks, BitMasks)
        assert torch.equal(instances.gt_masks.tensor, torch.from_numpy(mask).bool().expand(3, 40, 60))

    def test_rle_is_no_polygon(self):
        with pytest.raises(ValueError, match="polygon"):
            utils.annotations_to_instances([self.annotation(np.zeros((40, 60), np.uint8))], (40, 60), "polygon")


def test_filter_empty_instances():
    instances = Instances((5, 5), gt_boxes=Boxes([[0, 0, 2, 2], [1, 1, 1, 3], [0, 0, 3, 3]]))
    assert len(utils.filter_empty_instances(instances)) == 2
    assert len(utils.filter_empty_instances(instances, box_threshold=2)) == 1
    instances.gt_masks = BitMasks(torch.tensor([1, 1, 0]).reshape(3, 1, 1).expand(3, 5, 5))
    filtered, kept = utils.filter_empty_instances(instances, return_mask=True)
    assert kept.tolist() == [True, False, False] and len(filtered) == 1
    assert len(utils.filter_empty_instances(instances, by_mask=False)) == 2
    assert len(utils.filter_empty_instances(instances, by_box=False)) == 2


class TestBuildAugmentation:
    def test_train(self):
        cfg = get_cfg()
        resize, flip = utils.build_augmentation(cfg, is_train=True)
        assert isinstance(resize, T.ResizeShortestEdge) and isinstance(flip, T.RandomFlip)
        assert tuple(resize.short_edge_length) == (800,) and resize.max_size == 1333 and not resize.is_range
        cfg.INPUT.RANDOM_FLIP = "vertical"
        assert utils.build_augmentation(cfg, is_train=True)[1].vertical
        cfg.INPUT.RANDOM_FLIP = "none"
        assert len(utils.build_augmentation(cfg, is_train=True)) == 1
        assert utils.build_transform_gen is utils.build_augmentation

    def test_test(self):
        cfg = get_cfg()
        cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 20, 30
        (resize,) = utils.build_augmentation(cfg, is_train=False)
        transform = resize.get_transform(np.zeros((40, 100, 3), np.uint8))
        assert (transform.new_h, transform.new_w) == (12, 30)


class TestDatasetMapper:
    @pytest.fixture
    def dicts(self, synthetic_coco, dataset_name):
        coco = synthetic_coco
        return {d["image_id"]: d for d in load_coco_json(coco.instances_json, coco.image_root, dataset_name)}

    @pytest.fixture
    def cfg(self):
        cfg = get_cfg()
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (20,), 20
        cfg.INPUT.FORMAT = "RGB"
        cfg.INPUT.MASK_FORMAT = "bitmask"
        cfg.INPUT.RANDOM_FLIP = "none"
        cfg.MODEL.MASK_ON = True
        return cfg

    def test_train(self, cfg, dicts):
        before = copy.deepcopy(dicts[3])
        mapped = DatasetMapper(cfg, is_train=True)(dicts[3])
        assert dicts[3] == before, "the input stays as it was"
        assert mapped["image"].shape == (3, 20, 30) and mapped["image"].dtype == torch.uint8
        assert close(mapped["image"][:, 7, 7], PERSON_RGB)
        assert (mapped["height"], mapped["width"], mapped["image_id"]) == (40, 60, 3), "of the original"
        assert "annotations" not in mapped
        instances = mapped["instances"]
        assert instances.image_size == (20, 30)
        assert instances.gt_classes.tolist() == [0, 1]
        assert instances.gt_boxes.tensor.tolist() == [[5, 2.5, 10, 12.5], [15, 5, 25, 10]]
        assert instances.gt_masks.tensor[1].nonzero().tolist() == [[y, x] for y in range(5, 10) for x in range(15, 25)]

    def test_format(self, cfg, dicts):
        cfg.INPUT.FORMAT = "BGR"
        assert close(DatasetMapper(cfg)(dicts[3])["image"][:, 7, 7], PERSON_RGB[::-1])

    def test_polygons_and_boxes_only(self, cfg, dicts):
        cfg.INPUT.MASK_FORMAT = "polygon"
        masks = DatasetMapper(cfg)(dicts[7])["instances"].gt_masks
        assert len(masks) == 1 and len(masks.polygons[0]) == 2
        with pytest.raises(ValueError):
            DatasetMapper(cfg)(dicts[3])
        cfg.MODEL.MASK_ON = False
        assert not DatasetMapper(cfg)(dicts[3])["instances"].has("gt_masks")

    def test_images_without_objects(self, cfg, dicts):
        for image_id in (12, 31):  # no annotation; a crowd, which is dropped
            instances = DatasetMapper(cfg)(dicts[image_id])["instances"]
            assert len(instances) == 0 and not instances.has("gt_masks")

    def test_exif_rotated_image(self, cfg, dicts):
        mapped = DatasetMapper(cfg)(dicts[20])
        assert mapped["image"].shape == (3, 27, 20)
        assert close(mapped["image"][:, 10, 6], PERSON_RGB)
        assert mapped["instances"].gt_masks.tensor[0, 10, 6]
        expected = [4 * 20 / 30, 6 * 27 / 40, 14 * 20 / 30, 30 * 27 / 40]
        assert mapped["instances"].gt_boxes.tensor[0].tolist() == pytest.approx(expected)

    def test_wrong_size(self, cfg, dicts):
        with pytest.raises(utils.SizeMismatchError):
            DatasetMapper(cfg)({**dicts[20], "height": 30, "width": 40})

    def test_test_mode(self, cfg, dicts):
        mapped = DatasetMapper(cfg, is_train=False)(dicts[3])
        assert set(mapped) == {"file_name", "height", "width", "image_id", "image"}

    def test_flip_follows_the_seed(self, cfg, dicts):
        cfg.INPUT.RANDOM_FLIP = "horizontal"
        mapper = DatasetMapper(cfg)
        for seed in range(6):
            np.random.seed(seed)
            np.random.choice([20])  # the resize draws first, then the flip
            flipped = np.random.uniform() < 0.5
            np.random.seed(seed)
            boxes = mapper(dicts[3])["instances"].gt_boxes.tensor
            assert boxes[0].tolist() == ([20, 2.5, 25, 12.5] if flipped else [5, 2.5, 10, 12.5])

    def test_crop_recomputes_boxes(self, cfg, dicts):
        cfg.INPUT.CROP.ENABLED = True
        cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = "absolute", [8, 8]
        mapper = DatasetMapper(cfg)
        counts = set()
        for seed in range(40):
            np.random.seed(seed)
            mapped = mapper(dicts[40])
            assert mapped["image"].shape == (3, 20, 20)
            instances = mapped["instances"]
            counts.add(len(instances))
            if len(instances):
                assert torch.equal(instances.gt_boxes.tensor, instances.gt_masks.get_bounding_boxes().tensor)
        assert {0, 1} <= counts, "objects outside of the crop are gone"

    def test_semantic(self, cfg, synthetic_coco):
        square = load_sem_seg(synthetic_coco.sem_seg_root, synthetic_coco.image_root)[-1]
        cfg.INPUT.MIN_SIZE_TRAIN = (16,)
        mapped = DatasetMapper(cfg)(square)
        assert set(mapped) == {"file_name", "image", "sem_seg", "height", "width"}
        assert (mapped["height"], mapped["width"]) == (32, 32)
        expected = torch.full((16, 16), 2)
        expected[4:12, 4:12] = 1
        expected[14:] = 255
        assert mapped["sem_seg"].dtype == torch.int64 and torch.equal(mapped["sem_seg"], expected)
        assert "sem_seg_file_name" not in DatasetMapper(cfg, is_train=False)(square)

    def test_explicit_arguments(self, dicts):
        mapper = DatasetMapper(
            True,
            augmentations=[T.RandomFlip(prob=1.0), T.HFlipTransform(60)],
            image_format="L",
            use_instance_mask=True,
            instance_mask_format="bitmask",
        )
        mapped = mapper(dicts[3])
        assert mapped["image"].shape == (1, 40, 60)
        assert mapped["instances"].gt_boxes.tensor.tolist() == [[10, 5, 20, 25], [30, 10, 50, 20]]
        with pytest.raises(AssertionError):
            DatasetMapper(True, augmentations=[], image_format="RGB", recompute_boxes=True)
