import pytest
import torch

from masqclip_d2.visual_encoder.attend_mask import attend_mask, touched_patches


def test_one_pixel_touches_only_its_patch():
    mask_logits = torch.full((1, 1, 4, 6), -5.0)
    mask_logits[0, 0, 3, 2] = 1.0  # row of patches 1, column 1 of 3
    expected = torch.tensor([[[False, False, False, False, True, False]]])
    assert torch.equal(touched_patches(mask_logits, patch_size=2), expected)


@pytest.mark.parametrize(
    ("logit", "zero_is_inside", "touched"),
    [
        (0.0, True, True),  # MaskCLIP: sigmoid >= 0.5
        (0.0, False, False),  # MasQCLIP: > 0
        (-1e-3, True, False),
        (1e-3, False, True),
    ],
)
def test_threshold_of_inside(logit, zero_is_inside, touched):
    mask_logits = torch.full((1, 1, 2, 2), logit)
    assert touched_patches(mask_logits, 2, zero_is_inside).item() is touched


def test_the_class_token_may_always_be_attended():
    allowed = attend_mask(torch.full((2, 3, 4), -1.0))
    assert allowed.shape == (2, 3, 5)
    assert allowed[..., 0].all() and not allowed[..., 1:].any()


def test_no_masks():
    assert touched_patches(torch.zeros(2, 0, 4, 4), patch_size=2).shape == (2, 0, 4)
    assert attend_mask(torch.zeros(2, 0, 4)).shape == (2, 0, 5)


def test_maxima_decide():
    maxima = torch.tensor([[[-1.0, 0.0, 2.0, torch.nan]]])
    assert attend_mask(maxima).tolist() == [[[True, False, True, True, False]]]
    assert attend_mask(maxima, zero_is_inside=False).tolist() == [[[True, False, False, True, False]]]
