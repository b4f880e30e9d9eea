from pathlib import Path

import numpy as np
import pytest
import torch

from masqclip_d2.clip.preprocessing import CLIP_MEAN, CLIP_STD, clip_image, masks_to_encoder

GOLDEN = Path(__file__).parents[1] / "golden"


def test_constant_image_by_hand():
    image = torch.full((3, 5, 9), 51, dtype=torch.uint8)  # 51 / 255 = 0.2
    result = clip_image(image, 4)
    assert result.shape == (3, 4, 4) and result.dtype == torch.float32
    for channel in range(3):
        expected = (0.2 - CLIP_MEAN[channel]) / CLIP_STD[channel]
        torch.testing.assert_close(result[channel], torch.full((4, 4), expected))


def test_equals_the_published_preprocessing():
    golden = np.load(GOLDEN / "masqclip_visual_A.npz")
    for image, expected in zip(golden["image"], golden["dbg/clip_image"], strict=True):
        result = clip_image(torch.from_numpy(image), expected.shape[-1])
        torch.testing.assert_close(result, torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_masks_equal_the_published_resize():
    golden = np.load(GOLDEN / "postprocess_maskclip_A.npz")
    expected = torch.from_numpy(golden["dbg/masks_into_encoder"])
    result = masks_to_encoder(torch.from_numpy(golden["proposal_mask_logits"]), expected.shape[-1])
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_antialias_is_a_choice():
    stripes = torch.tensor([0.0, 255.0]).repeat(3, 32, 16)  # (3, 32, 32) with columns 0, 255, 0, 255, ...
    sharp, smooth = clip_image(stripes, 7), clip_image(stripes, 7, antialias=True)
    assert smooth.std() < 0.5 * sharp.std()


def test_one_pixel_image():
    result = clip_image(torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None], 6)
    torch.testing.assert_close(result[0], torch.full((6, 6), (1 - CLIP_MEAN[0]) / CLIP_STD[0]))


def test_masks_of_any_count():
    assert masks_to_encoder(torch.zeros(0, 5, 7), 8).shape == (0, 8, 8)
    assert masks_to_encoder(torch.zeros(2, 0, 5, 7), 8).shape == (2, 0, 8, 8)
    batch = torch.randn(2, 3, 5, 7)
    assert torch.equal(masks_to_encoder(batch, 8)[1], masks_to_encoder(batch[1], 8))


@pytest.mark.parametrize("shape", [(5, 9), (1, 5, 9), (5, 9, 3), (3, 0, 9)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="An image is"):
        clip_image(torch.zeros(shape), 4)
