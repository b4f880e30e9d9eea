"""Visualizer: colors, positions and sizes of what it draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.visualizer import ColorMode, Visualizer

HEIGHT, WIDTH = 80, 120
LEFT, RIGHT = (40, 10), (40, 110)  # (row, column): away from the labels in the middle of each region


@pytest.fixture
def metadata(dataset_name):
    return MetadataCatalog.get(dataset_name).set(
        thing_classes=["cat", "dog"],
        thing_colors=[(255, 0, 0), (0, 255, 0)],
        stuff_classes=["grass", "sky"],
        stuff_colors=[(0, 255, 0), (0, 0, 255)],
    )


def grey() -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def columns(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, start:stop] = True
    return mask


def corner(image: np.ndarray, row: int, column: int) -> np.ndarray:
    """Mean color of a small patch."""
    return image[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).mean(axis=0)


def test_sem_seg_blends_the_colors_of_the_dataset(metadata):
    labels = np.zeros((HEIGHT, WIDTH), np.int64)
    labels[:, 40:80] = 1
    labels[:, 80:] = 255  # void: above the number of classes
    image = Visualizer(grey(), metadata).draw_sem_seg(labels, alpha=0.8).get_image()
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert corner(image, 10, 5) == pytest.approx([20, 224, 20], abs=6)
    assert corner(image, 10, 60) == pytest.approx([20, 20, 224], abs=6)
    assert corner(image, 10, 110) == pytest.approx([100, 100, 100], abs=6)


def test_labels_are_drawn(metadata):
    labels = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    image = Visualizer(grey(), metadata).draw_sem_seg(labels, alpha=0.8).get_image().astype(int)
    assert (image.max(axis=2) < 60).sum() > 20  # the dark background of the label, the only one in the image


def test_scale_enlarges_the_image(metadata):
    visualizer = Visualizer(grey(), metadata, scale=2.0)
    image = visualizer.draw_binary_mask(columns(0, 60), (1.0, 0.0, 0.0), alpha=0.5).get_image()
    assert image.shape == (2 * HEIGHT, 2 * WIDTH, 3)
    assert corner(image, 20, 40) == pytest.approx([178, 50, 50], abs=6)
    assert corner(image, 20, 200) == pytest.approx([100, 100, 100], abs=6)


def test_instances_by_class(metadata):
    instances = Instances((HEIGHT, WIDTH))
    instances.pred_masks = torch.from_numpy(np.stack([columns(0, 30), columns(90, 120)]))
    instances.scores = torch.tensor([0.9, 0.8])
    instances.pred_classes = torch.tensor([0, 1])
    visualizer = Visualizer(grey(), metadata, instance_mode=ColorMode.SEGMENTATION)
    image = visualizer.draw_instance_predictions(instances).get_image()
    red, green = corner(image, 75, 15), corner(image, 75, 105)
    # The real library varies the color of a class slightly.
    assert red[0] - red[1:].max() > 80 and green[1] - green[[0, 2]].max() > 80
    assert corner(image, 75, 60) == pytest.approx([100, 100, 100], abs=6)


def test_black_and_white_mode_grays_the_background(metadata):
    picture = grey()
    picture[..., 0] = 200
    instances = Instances((HEIGHT, WIDTH))
    instances.pred_masks = torch.from_numpy(columns(0, 30)[None])
    instances.scores = torch.tensor([0.9])
    instances.pred_classes = torch.tensor([0])
    spread = []
    for _ in range(8):  # colors of instances are random; one of them may be gray
        visualizer = Visualizer(picture, metadata, instance_mode=ColorMode.IMAGE_BW)
        image = visualizer.draw_instance_predictions(instances).get_image()
        outside = corner(image, 75, 100)
        assert np.ptp(outside) < 8 and 120 < outside.mean() < 150
        spread.append(np.ptp(corner(image, 75, 15)))
    assert max(spread) > 20


def test_panoptic_draws_things_over_stuff_and_leaves_void(metadata):
    ids = torch.zeros(HEIGHT, WIDTH, dtype=torch.int32)
    ids[:, :40], ids[:, 40:80] = 7, 9
    segments = [
        {"id": 7, "isthing": False, "category_id": 1},
        {"id": 9, "isthing": True, "category_id": 0, "score": 0.5},
    ]
    for name in ("draw_panoptic_seg", "draw_panoptic_seg_predictions"):
        image = getattr(Visualizer(grey(), metadata), name)(ids, segments, alpha=0.7).get_image()
        blue, thing = corner(image, 8, 8), corner(image, 8, 60)
        assert blue[2] > 180 and blue[0] < 60
        assert thing[0] > thing[2] + 40
        assert corner(image, 8, 110) == pytest.approx([100, 100, 100], abs=6)


def test_overlay_without_metadata_boxes_and_labels():
    visualizer = Visualizer(grey())
    output = visualizer.overlay_instances(
        boxes=Boxes(torch.tensor([[20.0, 20.0, 100.0, 60.0]])), labels=["a word"], assigned_colors=[(1.0, 0.0, 0.0)]
    )
    image = output.get_image().astype(int)
    changed = np.abs(image - 100).sum(axis=2) > 20
    assert changed[60, 30:90].all() or changed[59, 30:90].all()  # the lower edge
    assert not changed[45:55, 40:80].any()  # the inside
    assert not changed[70:, :].any()


def test_larger_instances_are_drawn_first():
    small, large = columns(50, 70), columns(0, 120)
    for masks in ([small, large], [large, small]):
        colors = [(1.0, 0.0, 0.0) if mask is small else (0.0, 0.0, 1.0) for mask in masks]
        image = Visualizer(grey()).overlay_instances(masks=masks, assigned_colors=colors, alpha=1.0).get_image()
        assert corner(image, 10, 60) == pytest.approx([255, 0, 0], abs=6)
        assert corner(image, 10, 20) == pytest.approx([0, 0, 255], abs=6)


def test_dataset_dict_with_polygon_and_rle(metadata):
    from pycocotools import mask as mask_util

    rle = mask_util.encode(np.asfortranarray(columns(90, 120).astype(np.uint8)))
    polygon = [0.0, 0.0, 30.0, 0.0, 30.0, float(HEIGHT), 0.0, float(HEIGHT)]
    common = {"bbox_mode": BoxMode.XYWH_ABS, "iscrowd": 0}
    annotations = [
        {"bbox": [0, 0, 30, HEIGHT], "segmentation": [polygon], "category_id": 0, **common},
        {"bbox": [90, 0, 30, HEIGHT], "segmentation": rle, "category_id": 1, **common},
    ]
    visualizer = Visualizer(grey(), metadata, instance_mode=ColorMode.SEGMENTATION)
    image = visualizer.draw_dataset_dict({"annotations": annotations}).get_image()
    red, green = corner(image, 70, 15), corner(image, 70, 105)
    assert red[0] > red[1] + 40 and green[1] > green[0] + 40


def test_polygon_box_text_and_save(tmp_path):
    visualizer = Visualizer(grey())
    visualizer.draw_polygon(np.array([[10.0, 10.0], [50.0, 10.0], [50.0, 50.0], [10.0, 50.0]]), "b", alpha=1.0)
    visualizer.draw_box((70, 10, 110, 50), alpha=1.0, edge_color="r")
    output = visualizer.draw_text("word", (60, 60))
    image = output.get_image()
    assert corner(image, 30, 30) == pytest.approx([0, 0, 255], abs=6)
    assert corner(image, 30, 90) == pytest.approx([100, 100, 100], abs=6)
    assert image[30, 66:75, 0].max() > 170 and image[30, 66:75, 1].min() < 60
    output.save(str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").stat().st_size > 0
