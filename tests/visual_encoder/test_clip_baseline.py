import pytest
import torch

from masqclip_d2.clip import ClipPreprocessing
from masqclip_d2.visual_encoder import ClipBaselineEncoder, clip_baseline_embeddings

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def normalized(rgb):
    return ClipPreprocessing().image(rgb, 24)


@pytest.fixture
def rgb():
    return torch.randint(0, 256, (3, 24, 24)).float()


def test_pixels_outside_the_mask_are_black_before_normalization(visual, rgb):
    mask = torch.rand(24, 24) > 0.5
    result = clip_baseline_embeddings(visual, normalized(rgb), torch.where(mask, 2.0, -2.0)[None], batch_size=4)
    torch.testing.assert_close(result, visual(normalized(rgb * mask)[None]), **CLOSE)


def test_full_mask_is_the_image_and_empty_mask_is_black(visual, rgb):
    masks = torch.stack([torch.full((24, 24), 1.0), torch.full((24, 24), -1.0), torch.zeros(24, 24)])
    result = clip_baseline_embeddings(visual, normalized(rgb), masks, batch_size=2)
    plain = visual(normalized(rgb)[None])[0]
    torch.testing.assert_close(result[0], plain, **CLOSE)
    torch.testing.assert_close(result[1], visual(normalized(torch.zeros(3, 24, 24))[None])[0], **CLOSE)
    torch.testing.assert_close(result[2], plain, **CLOSE)  # a logit of 0 is inside, as for mask class tokens


def test_batch_size_does_not_change_the_embeddings(visual, rgb):
    masks = torch.randn(7, 24, 24)
    results = [clip_baseline_embeddings(visual, normalized(rgb), masks, size) for size in (1, 3, 7, 100)]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], **CLOSE)


def test_no_masks(visual, rgb):
    result = clip_baseline_embeddings(visual, normalized(rgb), torch.zeros(0, 24, 24), batch_size=4)
    assert result.shape == (0, 16)


def test_encoder_processes_each_image_of_a_batch(visual):
    images, masks = torch.randn(2, 3, 24, 24), torch.randn(2, 3, 24, 24)
    result = ClipBaselineEncoder(visual, batch_size=2)(images, masks).mask_embeddings
    torch.testing.assert_close(result[1], clip_baseline_embeddings(visual, images[1], masks[1], 3), **CLOSE)
    assert result.shape == (2, 3, 16)
