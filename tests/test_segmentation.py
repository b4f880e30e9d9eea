"""Segments of a model's predictions, and their conversion to JSON, label maps and visualizations."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from PIL import Image

from masqclip_d2.coco_masks import from_run_length
from masqclip_d2.segmentation import RejectedRegion, Segment, Segmentation, category_colors, rejected_of, segments_of
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


def test_area_and_box():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:6] = True
    segment = Segment("cat", 0, True, 0.5, mask)
    assert segment.area == 8 and segment.box_xyxy == [2, 1, 6, 3]
    assert Segment("cat", 0, True, 0.5, np.zeros((4, 6), dtype=bool)).box_xyxy == [0, 0, 0, 0]


def test_json_holds_everything_but_the_image():
    segments = [Segment("dog", 1, True, 0.123456789, mask_of([1, 2]))]
    rejected = [RejectedRegion("wall", 1 / 3, 4, (0, 0, 1, 4))]
    result = Segmentation(np.zeros((4, 6, 3), dtype=np.uint8), VOCABULARY, "panoptic", segments, rejected)
    content = json.loads(json.dumps(result.to_dict()))
    [segment] = content.pop("segments")
    assert content.pop("rejected") == [{"prompt": "wall", "score": 0.333333, "area": 4, "box": [0, 0, 1, 4]}]
    assert content == {"height": 4, "width": 6, "task": "panoptic", "vocabulary": ["cat", "dog", "grass"]}
    assert np.array_equal(from_run_length(segment.pop("rle")), mask_of([1, 2]))
    assert segment == {
        "label": "dog", "category_id": 1, "isthing": True, "score": 0.123457, "area": 8, "box": [1, 0, 3, 4],
    }  # fmt: skip


def test_the_best_score_wins_an_overlap_of_the_label_map():
    segments = [Segment("cat", 0, True, 0.9, mask_of([0, 1])), Segment("dog", 1, True, 0.5, mask_of([1, 2]))]
    result = Segmentation(np.zeros((4, 6, 3), dtype=np.uint8), VOCABULARY, "instance", segments)
    assert result.label_map()[0].tolist() == [0, 0, 1, -1, -1, -1] and result.label_map().dtype == np.int32


def test_label_image_has_categories_from_1_in_their_colors():
    segments = [Segment("cat", 0, True, 0.9, mask_of([0, 1])), Segment("grass", 2, False, 0.5, mask_of([3]))]
    image = Segmentation(np.zeros((4, 6, 3), dtype=np.uint8), VOCABULARY, "panoptic", segments).label_image()
    assert np.asarray(image)[0].tolist() == [1, 1, 0, 3, 0, 0] and image.mode == "P"
    red, green, blue = category_colors(3)[2]
    assert image.convert("RGB").getpixel((3, 0)) == (round(255 * red), round(255 * green), round(255 * blue))
    assert image.convert("RGB").getpixel((5, 0)) == (0, 0, 0)


@pytest.mark.parametrize(("count", "dtype"), [(255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_label_image_of_many_categories(tmp_path, count, dtype):
    vocabulary = Vocabulary(tuple(map(str, range(count))), (True,) * count)
    segments = [Segment("last", count - 1, True, 0.9, mask_of([0]))]
    Segmentation(np.zeros((4, 6, 3), dtype=np.uint8), vocabulary, "panoptic", segments).label_image().save(
        tmp_path / "a.png"
    )
    labels = np.asarray(Image.open(tmp_path / "a.png"))
    assert labels.astype(int)[0].tolist() == [count, 0, 0, 0, 0, 0] and labels.dtype == dtype


def test_label_image_of_too_many_categories():
    vocabulary = Vocabulary(tuple(map(str, range(65536))), (True,) * 65536)
    with pytest.raises(ValueError, match="at most 65535 categories, got 65536"):
        Segmentation(np.zeros((4, 6, 3), dtype=np.uint8), vocabulary, "panoptic").label_image()


def test_colors_of_the_vocabulary_are_drawn():
    vocabulary = Vocabulary(("a", "b"), (False, False), colors=(None, (255, 0, 0)))
    chosen = category_colors(2, vocabulary.colors)
    assert chosen[0] == category_colors(2)[0] == category_colors(9)[0] and chosen[1] == (1.0, 0.0, 0.0)
    whole = Segment("b", 1, False, 1.0, np.ones((480, 480), dtype=bool))
    drawing = Segmentation(np.zeros((480, 480, 3), dtype=np.uint8), vocabulary, "semantic", [whole]).draw()
    red, green, blue = drawing.reshape(-1, 3).mean(axis=0)  # the name is written in the middle
    assert red > 60 and green < 20 and blue < 20


@pytest.mark.parametrize("hw", [(4, 6), (500, 490)])
def test_drawings_are_at_least_480_pixels_wide_and_high(hw):
    empty = Segmentation(np.full((*hw, 3), 77, dtype=np.uint8), VOCABULARY, "panoptic")
    drawing = empty.draw()
    assert min(drawing.shape[:2]) == max(480, min(hw)) and drawing.dtype == np.uint8
    assert abs(drawing.mean() - 77) < 2


@pytest.mark.parametrize("hw", [(1, 300), (12000, 100)])
def test_drawings_of_narrow_images_stay_small(hw):
    drawing = Segmentation(np.zeros((*hw, 3), dtype=np.uint8), VOCABULARY, "panoptic").draw()
    assert max(drawing.shape[:2]) == max(1920, *hw)


def test_drawings_of_large_images_are_shrunk():
    image = np.zeros((4000, 6000, 3), dtype=np.uint8)
    mask = np.zeros((4000, 6000), dtype=bool)
    mask[1000:3000, 2000:4000] = True
    found = Segmentation(image, VOCABULARY, "panoptic", [Segment("cat", 0, True, 1.0, mask)])
    drawing = found.draw()
    assert abs(drawing.shape[0] - 3266) <= 1 and abs(drawing.shape[1] - 4899) <= 1
    assert drawing[1633, 2300].max() > 0 and drawing[200, 200].max() == 0


def test_instances_are_drawn_from_a_score_of_0_3_on():
    segments = [Segment("cat", 0, True, score, mask_of([column])) for column, score in enumerate((0.9, 0.3, 0.29))]
    found = Segmentation(np.zeros((4, 6, 3), np.uint8), VOCABULARY, "instance", segments)
    assert found.drawn_segments() == segments[:2] and found.drawn_segments(0.0) == segments
    assert replace(found, task="panoptic").drawn_segments() == segments
    none_of_them = replace(found, segments=segments[2:])
    assert np.array_equal(none_of_them.draw(), replace(found, segments=[]).draw())
    assert not np.array_equal(none_of_them.draw(0.2), none_of_them.draw())


def test_rejected_regions_have_the_text_of_their_prompt():
    vocabulary = replace(VOCABULARY, background_prompts=("wall", "floor"))
    region = SimpleNamespace(prompt=1, score=0.5, area=3, box_xyxy=(0, 0, 3, 1))
    predictions = {"rejected": {"panoptic": [region]}}
    assert rejected_of("panoptic", predictions, vocabulary) == [RejectedRegion("floor", 0.5, 3, (0, 0, 3, 1))]
    assert rejected_of("semantic", predictions, vocabulary) == rejected_of("semantic", {}, vocabulary) == []


def test_the_printed_form_has_no_pixels():
    segment = Segment("cat", 0, True, 0.5, mask_of([0], (400, 600)))
    found = Segmentation(np.zeros((400, 600, 3), np.uint8), VOCABULARY, "panoptic", [segment])
    expected = "Segment(label='cat', category_id=0, isthing=True, score=0.5)"
    assert repr(found) == f"Segmentation(task='panoptic', segments=[{expected}], rejected=[])"
