"""Regions of a label map against masks of each label."""

import pytest
import torch

from masqclip_d2.fusion import boxes_from_masks, label_regions


@pytest.mark.parametrize("band_size", [1_000_000, 50])
def test_regions_are_those_of_each_labels_mask(monkeypatch, band_size):
    monkeypatch.setattr(label_regions, "_BAND_SIZE", band_size)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (17, 23), generator=generator)
    labels[labels == 3] = 2  # label 3 has no pixels
    counted = torch.rand(17, 23, generator=generator) < 0.3
    scores = torch.rand(17, 23, generator=generator)
    found = label_regions.label_regions(labels, counted, scores, 6)
    masks = torch.stack([(labels == label) & counted for label in range(6)])
    assert torch.equal(found.areas, masks.flatten(1).sum(1)) and found.areas[0] > 0 and found.areas[3] == 0
    torch.testing.assert_close(found.boxes_xyxy, boxes_from_masks(masks))
    for label in (0, 1, 2, 4):
        torch.testing.assert_close(found.mean_scores[label], scores[masks[label]].mean())
    assert found.mean_scores[3] == 0 and found.mean_scores[5] == 0


def test_nothing_counts():
    labels = torch.zeros(3, 4, dtype=torch.int32)
    found = label_regions.label_regions(labels, labels > 0, labels, 2)
    assert not found.areas.any() and not found.boxes_xyxy.any() and not found.mean_scores.any()
