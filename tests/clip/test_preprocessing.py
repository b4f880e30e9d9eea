from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from masqclip_d2.clip import ClipPreprocessing

GOLDEN = Path(__file__).parents[1] / "golden"
OPENAI = ClipPreprocessing()


def test_constant_image_by_hand():
    image = torch.full((3, 5, 9), 51, dtype=torch.uint8)  # 51 / 255 = 0.2
    result = OPENAI.image(image, 4)
    assert result.shape == (3, 4, 4) and result.dtype == torch.float32
    for channel in range(3):
        expected = (0.2 - OPENAI.mean[channel]) / OPENAI.std[channel]
        torch.testing.assert_close(result[channel], torch.full((4, 4), expected))


def test_mean_and_std_of_another_clip():
    half = ClipPreprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5))
    result = half.image(torch.full((3, 5, 9), 255, dtype=torch.uint8), 4)
    torch.testing.assert_close(result[:, 0, 0], torch.tensor([1.0, 2.0, 1.0]))
    torch.testing.assert_close(half.normalize(torch.zeros(3, 1, 1)).flatten(), torch.tensor([-1.0, -2.0, -1.0]))


def test_equals_the_published_preprocessing():
    golden = np.load(GOLDEN / "masqclip_visual_A.npz")
    for image, expected in zip(golden["image"], golden["dbg/clip_image"], strict=True):
        result = OPENAI.image(torch.from_numpy(image), expected.shape[-1])
        torch.testing.assert_close(result, torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_antialias_smooths_when_shrinking():
    stripes = torch.tensor([0.0, 255.0]).repeat(3, 32, 16)  # (3, 32, 32) with columns 0, 255, 0, 255, ...
    sharp, smooth = OPENAI.image(stripes, 7), replace(OPENAI, antialias=True).image(stripes, 7)
    assert smooth.std() < 0.5 * sharp.std()


def test_bilinear_does_not_overshoot():
    edge = torch.tensor([0.0, 0.0, 255.0, 255.0]).expand(3, 4, 4)
    plain = ClipPreprocessing(mean=(0, 0, 0), std=(1, 1, 1))
    assert plain.image(edge, 9).max() > 1.0
    assert replace(plain, interpolation="bilinear").image(edge, 9).max() <= 1.0


def test_one_pixel_image():
    result = OPENAI.image(torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None], 6)
    torch.testing.assert_close(result[0], torch.full((6, 6), (1 - OPENAI.mean[0]) / OPENAI.std[0]))


@pytest.mark.parametrize("shape", [(5, 9), (1, 5, 9), (5, 9, 3), (3, 0, 9)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="An image must be"):
        OPENAI.image(torch.zeros(shape), 4)


def test_dictionary_round_trip():
    preprocessing = ClipPreprocessing(mean=(0.1, 0.2, 0.3), std=(1, 2, 3), interpolation="bilinear", antialias=True)
    assert ClipPreprocessing.from_dict(preprocessing.to_dict()) == preprocessing
    assert ClipPreprocessing.from_dict({"mean": [0.1, 0.2, 0.3]}) == ClipPreprocessing(mean=(0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": [0.5, 0.5]}, "mean .* three finite values"),
        ({"std": [0.5, 0.5, float("nan")]}, "std .* three finite values"),
        ({"std": [0.5, 0.5, 0.0]}, "std .* positive"),
        ({"interpolation": "nearest"}, "Unknown interpolation 'nearest'; known: bicubic, bilinear"),
        ({"size": 224}, r"unknown fields \['size'\]"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        ClipPreprocessing.from_dict(values)
