"""Segments in a model's predictions."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from detectron2.structures import Instances

from masqclip_d2.results import RejectedRegion
from masqclip_d2.results.from_predictions import rejected_of, segments_of
from masqclip_d2.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_names("cat,dog", stuff="grass")


def mask_of(columns, hw=(4, 6)):
    mask = np.zeros(hw, dtype=bool)
    mask[:, columns] = True
    return mask


def test_panoptic_segments():
    ids = torch.zeros(4, 6, dtype=torch.int32)
    ids[:, 2:] = 7
    info = [{"id": 7, "category_id": 2, "isthing": False, "score": 0.5, "area": 16}]
    [segment] = segments_of("panoptic", {"panoptic_seg": (ids, info)}, VOCABULARY)
    assert (segment.label, segment.category_id, segment.isthing, segment.score) == ("grass", 2, False, 0.5)
    assert np.array_equal(segment.mask, mask_of(slice(2, 6)))


def test_instances_without_a_pixel_are_no_segments():
    masks = torch.from_numpy(np.stack([mask_of([0]), mask_of([]), mask_of([0, 1])]))
    instances = Instances((4, 6), pred_masks=masks, pred_classes=torch.tensor([1, 0, 0]), scores=torch.rand(3))
    segments = segments_of("instance", {"instances": instances}, VOCABULARY)
    assert [segment.label for segment in segments] == ["dog", "cat"]
    assert [segment.area for segment in segments] == [4, 8]


def test_semantic_segments_exclude_pixels_without_confidence():
    labels = torch.zeros(4, 6, dtype=torch.int64)
    labels[:, 4:] = 1
    confidence = torch.full((4, 6), 0.5)
    confidence[:, 0], confidence[:, 4:] = 0.0, 1.5
    predictions = {"sem_seg_labels": labels, "sem_seg_confidence": confidence}
    cat, dog = segments_of("semantic", predictions, VOCABULARY)
    assert np.array_equal(cat.mask, mask_of([1, 2, 3])) and cat.score == 0.5
    assert np.array_equal(dog.mask, mask_of([4, 5])) and dog.score == 1.0  # at most 1


def test_rejected_regions_have_the_text_of_their_prompt():
    vocabulary = replace(VOCABULARY, background_prompts=("wall", "floor"))
    region = SimpleNamespace(prompt=1, score=0.5, area=3, box_xyxy=(0, 0, 3, 1))
    predictions = {"rejected": {"panoptic": [region]}}
    assert rejected_of("panoptic", predictions, vocabulary) == [RejectedRegion("floor", 0.5, 3, (0, 0, 3, 1))]
    assert rejected_of("semantic", predictions, vocabulary) == rejected_of("semantic", {}, vocabulary) == []
