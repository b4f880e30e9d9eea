"""detectron2.structures, with values computed by hand."""

import masqclip_d2  # noqa: F401  isort: skip
import json
import pickle

import numpy as np
import pytest
import torch
from detectron2.structures import (
    BitMasks,
    Boxes,
    BoxMode,
    ImageList,
    Instances,
    PolygonMasks,
    pairwise_iou,
    polygons_to_bitmask,
)

SQUARE = np.array([1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0])  # x 1..4, y 1..3
TRIANGLE = np.array([0.0, 0.0, 4.0, 0.0, 0.0, 2.0])


class TestBoxMode:
    @pytest.mark.parametrize("make", [list, tuple])
    def test_one_box(self, make):
        box = make([1.0, 2.0, 3.0, 5.0])
        there = BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        assert there == make([1, 2, 4, 7])
        assert BoxMode.convert(there, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS) == box
        assert box == make([1, 2, 3, 5]), "the input stays as it was"

    @pytest.mark.parametrize("make", [np.array, torch.tensor])
    def test_many_boxes(self, make):
        boxes = make([[0.0, 0, 2, 2], [1, 1, 3, 4]])
        there = BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        assert type(there) is type(boxes) and there.dtype == boxes.dtype
        assert there.tolist() == [[0, 0, 2, 2], [1, 1, 4, 5]]
        assert BoxMode.convert(there, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist() == boxes.tolist()
        assert boxes[1].tolist() == [1, 1, 3, 4], "the input stays as it was"

    def test_equal_modes_return_the_same_object(self):
        box = [1, 2, 3, 4]
        assert BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYXY_ABS) is box

    def test_is_a_number_in_files(self):
        assert json.dumps({"mode": BoxMode.XYWH_ABS}) == '{"mode": 1}'
        assert BoxMode.XYXY_ABS == 0


class TestBoxes:
    def test_empty_and_wrong_shapes(self):
        assert Boxes([]).tensor.shape == Boxes(torch.zeros(0, 4)).tensor.shape == (0, 4)
        assert Boxes([[1, 2, 3, 4]]).tensor.dtype == torch.float32
        with pytest.raises(AssertionError):
            Boxes(torch.zeros(3))
        with pytest.raises(AssertionError):
            Boxes(torch.zeros(2, 5))

    def test_area_centers_nonempty(self):
        boxes = Boxes([[0.0, 0, 4, 5], [1, 1, 1, 9], [2, 2, 3, 2.5]])
        assert boxes.area().tolist() == [20, 0, 0.5]
        assert boxes.get_centers().tolist() == [[2, 2.5], [1, 5], [2.5, 2.25]]
        assert boxes.nonempty().tolist() == [True, False, True]
        assert boxes.nonempty(threshold=1).tolist() == [True, False, False]

    def test_clip_and_scale_in_place(self):
        boxes = Boxes([[-1.0, -2, 50, 60]])
        boxes.clip((40, 30))
        assert boxes.tensor.tolist() == [[0, 0, 30, 40]]
        boxes.scale(2, 0.5)
        assert boxes.tensor.tolist() == [[0, 0, 60, 20]]
        with pytest.raises(AssertionError):
            Boxes([[0.0, 0, float("nan"), 1]]).clip((2, 2))

    def test_inside_box(self):
        boxes = Boxes([[0.0, 0, 9, 9], [0, 0, 11, 9], [-3, 0, 9, 9]])
        assert boxes.inside_box((10, 10)).tolist() == [True, False, False]
        assert boxes.inside_box((10, 10), boundary_threshold=2).tolist() == [True, True, False]

    def test_indexing(self):
        boxes = Boxes(torch.arange(12).reshape(3, 4))
        assert boxes[1].tensor.tolist() == [[4, 5, 6, 7]]
        assert len(boxes[1:]) == 2
        assert boxes[torch.tensor([True, False, True])].tensor[:, 0].tolist() == [0, 8]
        assert boxes[torch.tensor([2, 2])].tensor[:, 0].tolist() == [8, 8]
        assert [row.tolist()[0] for row in boxes] == [0, 4, 8]
        with pytest.raises(IndexError):
            boxes[3]

    def test_cat_and_clone(self):
        boxes = Boxes([[0, 0, 1, 1]])
        assert Boxes.cat([boxes, Boxes([]), boxes]).tensor.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
        assert len(Boxes.cat([])) == 0
        copy = boxes.clone()
        copy.scale(3, 3)
        assert boxes.tensor.tolist() == [[0, 0, 1, 1]]

    def test_pairwise_iou(self):
        ious = pairwise_iou(Boxes([[0.0, 0, 2, 2], [5, 5, 5, 5]]), Boxes([[1.0, 0, 3, 2], [0, 0, 2, 2], [2, 2, 3, 3]]))
        assert torch.allclose(ious, torch.tensor([[1 / 3, 1, 0], [0, 0, 0]]))
        assert pairwise_iou(Boxes([]), Boxes([[0, 0, 1, 1]])).shape == (0, 1)


class TestBitMasks:
    masks = torch.zeros(3, 5, 6, dtype=torch.bool)
    masks[0, 1:4, 2:5] = True
    masks[2, 4, 5] = True

    def test_boxes_are_half_open(self):
        boxes = BitMasks(self.masks).get_bounding_boxes()
        assert boxes.tensor.tolist() == [[2, 1, 5, 4], [0, 0, 0, 0], [5, 4, 6, 5]]
        assert BitMasks(self.masks[:0]).get_bounding_boxes().tensor.shape == (0, 4)

    def test_nonempty_and_indexing(self):
        masks = BitMasks(self.masks)
        assert masks.nonempty().tolist() == [True, False, True]
        assert masks.image_size == (5, 6) and len(masks) == 3
        assert masks[0].tensor.shape == (1, 5, 6)
        assert masks[masks.nonempty()].tensor.sum(dim=(1, 2)).tolist() == [9, 1]
        assert masks[torch.tensor([2])].tensor.sum() == 1
        assert [m.shape for m in masks] == [(5, 6)] * 3
        assert len(BitMasks.cat([masks, masks[:1]])) == 4

    def test_other_types(self):
        assert BitMasks(np.full((1, 2, 2), 3, dtype=np.uint8)).tensor.tolist() == [[[True, True], [True, True]]]
        with pytest.raises(AssertionError):
            BitMasks(torch.zeros(5, 6))

    def test_from_polygons(self):
        masks = BitMasks.from_polygon_masks([[SQUARE], []], 5, 6).tensor
        assert masks.dtype == torch.bool and masks.shape == (2, 5, 6)
        assert masks[0].nonzero().tolist() == [[y, x] for y in (1, 2) for x in (1, 2, 3)]
        assert not masks[1].any()
        assert torch.equal(BitMasks.from_polygon_masks(PolygonMasks([[SQUARE], []]), 5, 6).tensor, masks)


def test_polygons_to_bitmask():
    two = polygons_to_bitmask([SQUARE, SQUARE + np.tile([2.0, 1.0], 4)], 5, 7)
    assert two.dtype == bool and two.shape == (5, 7)
    expected = np.zeros((5, 7), dtype=bool)
    expected[1:3, 1:4] = expected[2:4, 3:6] = True
    assert np.array_equal(two, expected)
    assert not polygons_to_bitmask([], 2, 3).any()


class TestPolygonMasks:
    def test_area_boxes_nonempty(self):
        masks = PolygonMasks([[SQUARE], [TRIANGLE, SQUARE + 10]])
        assert masks.area().tolist() == [6, 10]
        assert masks.get_bounding_boxes().tensor.tolist() == [[1, 1, 4, 3], [0, 0, 14, 13]]
        assert PolygonMasks([[SQUARE], []]).nonempty().tolist() == [True, False]
        assert masks.polygons[0][0].dtype == np.float64
        assert masks.to("cpu") is masks

    def test_indexing(self):
        masks = PolygonMasks([[SQUARE], [TRIANGLE], [SQUARE, TRIANGLE]])
        assert [len(m) for m in masks] == [1, 1, 2]
        assert masks[1].area().tolist() == [4]
        assert masks[1:].area().tolist() == [4, 10]
        assert masks[torch.tensor([True, False, True])].area().tolist() == [6, 10]
        assert masks[torch.tensor([2, 0])].area().tolist() == [10, 6]
        assert len(PolygonMasks.cat([masks, masks[0]])) == 4

    @pytest.mark.parametrize("polygons", [[[np.zeros(4)]], [[np.zeros(7)]], [SQUARE], "no list"])
    def test_wrong_polygons(self, polygons):
        with pytest.raises(ValueError):
            PolygonMasks(polygons)


class TestInstances:
    def make(self, n=3):
        return Instances(
            (4, 6),
            scores=torch.arange(n) / 10,
            gt_boxes=Boxes(torch.arange(4 * n).reshape(n, 4)),
            gt_masks=BitMasks(torch.zeros(n, 4, 6)),
        )

    def test_fields(self):
        instances = self.make()
        instances.labels = ["a", "b", "c"]
        assert instances.has("labels") and instances.get("labels") is instances.labels
        assert set(instances.get_fields()) == {"scores", "gt_boxes", "gt_masks", "labels"}
        assert instances.image_size == (4, 6) and len(instances) == 3
        instances.remove("labels")
        assert not instances.has("labels")
        with pytest.raises(AttributeError):
            _ = instances.labels
        with pytest.raises(AssertionError):
            instances.other = torch.zeros(2)

    def test_without_fields(self):
        with pytest.raises(NotImplementedError):
            len(Instances((4, 6)))

    def test_indexing(self):
        instances = self.make()
        for one in (instances[1], instances[1:2], instances[torch.tensor([False, True, False])], instances[-2]):
            assert len(one) == 1
            assert one.gt_boxes.tensor.tolist() == [[4, 5, 6, 7]]
            assert len(one.gt_masks) == 1
        assert instances[-1].scores.tolist() == pytest.approx([0.2])
        assert len(instances[torch.zeros(0, dtype=torch.long)]) == 0
        for index in (3, -4):
            with pytest.raises(IndexError):
                instances[index]

    def test_cannot_be_iterated_over(self):
        with pytest.raises(NotImplementedError):
            iter(self.make())

    def test_to_and_pickle(self):
        moved = self.make().to(torch.device("meta"))
        assert moved.scores.device.type == moved.gt_boxes.device.type == "meta"
        restored = pickle.loads(pickle.dumps(self.make()))
        assert restored.image_size == (4, 6) and restored.gt_boxes.tensor.shape == (3, 4)

    def test_cat(self):
        first, second = self.make(1), self.make(2)
        first.names, second.names = ["a"], ["b", "c"]
        joined = Instances.cat([first, second])
        assert len(joined) == 3 and joined.names == ["a", "b", "c"]
        assert joined.gt_boxes.tensor[:, 0].tolist() == [0, 0, 4]
        assert joined.gt_masks.tensor.shape == (3, 4, 6)
        with pytest.raises(AssertionError):
            Instances.cat([first, Instances((5, 6), names=["a"])])
        first.names, second.names = "a", "bc"
        with pytest.raises(ValueError):
            Instances.cat([first, second])


class TestImageList:
    images = [torch.full((3, 4, 7), 1.0), torch.full((3, 6, 5), 2.0)]

    def test_padding_right_and_below(self):
        batch = ImageList.from_tensors(self.images, pad_value=-1.0)
        assert batch.tensor.shape == (2, 3, 6, 7)
        assert [tuple(size) for size in batch.image_sizes] == [(4, 7), (6, 5)]
        assert (batch.tensor[0, :, 4:] == -1).all() and (batch.tensor[1, :, :, 5:] == -1).all()
        assert torch.equal(batch[0], self.images[0]) and torch.equal(batch[1], self.images[1])
        assert len(batch) == 2 and batch.device == torch.device("cpu")

    @pytest.mark.parametrize(("divisor", "size"), [(0, (6, 7)), (1, (6, 7)), (4, (8, 8)), (7, (7, 7)), (32, (32, 32))])
    def test_divisibility(self, divisor, size):
        assert ImageList.from_tensors(self.images, divisor).tensor.shape[-2:] == size

    @pytest.mark.parametrize(
        ("constraints", "size"),
        [
            ({}, (8, 8)),
            ({"size_divisibility": 5}, (10, 10)),
            ({"square_size": 12}, (12, 12)),
            ({"square_size": 0}, (8, 8)),
        ],
    )
    def test_padding_constraints(self, constraints, size):
        assert ImageList.from_tensors(self.images, 4, padding_constraints=constraints).tensor.shape[-2:] == size

    def test_masks_keep_their_type(self):
        batch = ImageList.from_tensors([torch.ones(2, 3, dtype=torch.bool), torch.ones(3, 2, dtype=torch.bool)])
        assert batch.tensor.dtype == torch.bool and batch.tensor.sum() == 12
        assert batch.to(torch.float32).tensor.dtype == torch.float32

    def test_wrong_input(self):
        for images in ([], [torch.zeros(3, 2, 2), torch.zeros(1, 2, 2)], torch.zeros(2, 3, 4, 4)):
            with pytest.raises(AssertionError):
                ImageList.from_tensors(images)
