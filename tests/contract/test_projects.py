"""Point sampling, photometric augmentation, DeepLab's keys, semantic post-processing."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.projects.deeplab import add_deeplab_config
from detectron2.projects.point_rend import ColorAugSSDTransform
from detectron2.projects.point_rend.point_features import get_uncertain_point_coords_with_randomness, point_sample


def test_point_sample_at_pixel_centers_and_between_them():
    image = torch.tensor([[0.0, 1.0], [2.0, 3.0]])[None, None]
    points = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]])  # (x, y)
    values = point_sample(image, points, align_corners=False)
    assert values.shape == (1, 1, 4)
    assert values.flatten().tolist() == pytest.approx([0, 1, 2, 1.5])
    grid = point_sample(image, points.reshape(1, 2, 2, 2), align_corners=False)
    assert grid.shape == (1, 1, 2, 2) and grid.flatten().tolist() == pytest.approx([0, 1, 2, 1.5])
    nearest = point_sample(image, torch.tensor([[[0.4, 0.6]]]), align_corners=False, mode="nearest")
    assert nearest.item() == 2.0


def test_uncertain_points_come_from_the_boundary():
    # Logits rise from left to right and cross zero at x = 0.5.
    logits = torch.linspace(-10, 10, 64).expand(2, 1, 64, 64).contiguous()
    coords = get_uncertain_point_coords_with_randomness(logits, lambda values: -values.abs(), 100, 3, 0.75)
    assert coords.shape == (2, 100, 2) and coords.min() >= 0 and coords.max() <= 1
    near = (coords[..., 0] - 0.5).abs() < 0.2  # 75 of 300 uniform points are the nearest ones: about 0.125 away
    assert near[:, :75].all()
    assert near[:, 75:].float().mean() < 0.8


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_or_no_points_by_uncertainty(share):
    logits = torch.linspace(-10, 10, 64).expand(1, 1, 64, 64).contiguous()
    coords = get_uncertain_point_coords_with_randomness(logits, lambda values: -values.abs(), 200, 4, share)
    assert coords.shape == (1, 200, 2)
    assert ((coords[..., 0] - 0.5).abs().max() < 0.25) == (share == 1.0)


def test_uncertain_points_of_no_maps():
    coords = get_uncertain_point_coords_with_randomness(
        torch.zeros(0, 1, 8, 8), lambda values: -values.abs(), 10, 3, 0.5
    )
    assert coords.shape == (0, 10, 2)


def test_color_jitter_changes_pixels_only():
    transform = ColorAugSSDTransform("RGB")
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    before = image.copy()
    random.seed(0)
    results = [transform.apply_image(image) for _ in range(20)]
    assert np.array_equal(image, before)
    assert all(result.dtype == np.uint8 and result.shape == image.shape for result in results)
    assert len({result.tobytes() for result in results}) > 10
    coords, labels = np.array([[1.0, 2.0]]), np.eye(3)
    assert np.array_equal(transform.apply_coords(coords), coords)
    assert np.array_equal(transform.apply_segmentation(labels), labels)


def test_color_jitter_is_equal_for_both_channel_orders():
    image = np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    for seed in range(5):
        random.seed(seed)
        as_rgb = ColorAugSSDTransform("RGB").apply_image(image)
        random.seed(seed)
        as_bgr = ColorAugSSDTransform("BGR").apply_image(image[..., ::-1].copy())
        assert np.array_equal(as_rgb, as_bgr[..., ::-1])


def test_brightness_alone_shifts_gray():
    neutral = {"contrast_low": 1, "contrast_high": 1, "saturation_low": 1, "saturation_high": 1, "hue_delta": 0}
    transform = ColorAugSSDTransform("RGB", brightness_delta=10, **neutral)
    grey = np.full((2, 2, 3), 100, np.uint8)
    random.seed(0)
    values = {int(transform.apply_image(grey)[0, 0, 0]) for _ in range(50)}
    assert values <= set(range(90, 111)) and len(values) > 5
    white = ColorAugSSDTransform("RGB", brightness_delta=300, **neutral)
    assert all(white.apply_image(np.full((1, 1, 3), 255, np.uint8)).max() <= 255 for _ in range(10))


def test_deeplab_config():
    cfg = get_cfg()
    add_deeplab_config(cfg)
    assert cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA == 1.0
    assert (cfg.SOLVER.POLY_LR_POWER, cfg.SOLVER.POLY_LR_CONSTANT_ENDING) == (0.9, 0.0)
    assert cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE == "hard_pixel_mining"
    assert cfg.MODEL.SEM_SEG_HEAD.ASPP_DILATIONS == [6, 12, 18]
    assert cfg.MODEL.RESNETS.RES5_MULTI_GRID == [1, 2, 4]


def test_sem_seg_postprocess_removes_padding_before_resizing():
    logits = torch.zeros(2, 4, 6)
    logits[:, :2, :3] = 1.0
    logits[:, 2:] = 50.0  # padding
    result = sem_seg_postprocess(logits, (2, 3), 8, 9)
    assert result.shape == (2, 8, 9) and (result == 1).all()
    ramp = torch.tensor([[[0.0, 1.0]]])
    assert sem_seg_postprocess(ramp, (1, 2), 1, 4).flatten().tolist() == pytest.approx([0, 0.25, 0.75, 1])
