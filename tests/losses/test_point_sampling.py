"""Samples of binary masks at points."""

import torch
from detectron2.projects.point_rend.point_features import point_sample

from masqclip_d2.losses.point_sampling import PointSampledMasks


def test_samples_equal_those_of_float_maps():
    masks = torch.rand(5, 7, 11) > 0.5
    which = torch.tensor([4, 0, 2, 2])
    points = torch.rand(4, 50, 2)
    points[0, :4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])  # corners are blended with zeros
    expected = point_sample(masks[which][:, None].float(), points, align_corners=False)[:, 0]
    actual = PointSampledMasks(masks).sample(which, points)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_samples_between_pixels_are_blended():
    masks = PointSampledMasks(torch.tensor([[[1, 0], [0, 1]]]))
    points = torch.tensor([[[0.25, 0.25], [0.5, 0.5], [0.5, 0.25], [0.0, 0.25], [0.0, 0.0]]])
    values = masks.sample(torch.tensor([0]), points)
    torch.testing.assert_close(values, torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.25]]))


def test_no_masks():
    assert PointSampledMasks(torch.zeros(0, 4, 4)).sample(torch.zeros(0).long(), torch.zeros(0, 3, 2)).shape == (0, 3)
