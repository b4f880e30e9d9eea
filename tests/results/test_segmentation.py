"""Segments of a model's predictions, and their conversion to JSON, label maps and visualizations."""

import json

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.coco_masks import from_run_length
from masqclip_d2.results import RejectedRegion, Segment, Segmentation
from masqclip_d2.results.colors import category_colors
from masqclip_d2.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_names("cat,dog", stuff="grass")


def mask_of(columns, hw=(4, 6)):
    mask = np.zeros(hw, dtype=bool)
    mask[:, columns] = True
    return mask


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
    assert image.convert("RGB").getpixel((3, 0)) == category_colors(VOCABULARY)[2]
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


def result_of(*rows, hw=(4, 6), vocabulary=VOCABULARY, task="panoptic"):
    """A result with segments (category index, score, columns)."""
    segments = [
        Segment(vocabulary.names[index], index, vocabulary.is_thing[index], score, mask_of(columns, hw))
        for index, score, columns in rows
    ]
    return Segmentation(np.zeros((*hw, 3), np.uint8), vocabulary, task, segments)


def test_the_printed_form_is_one_short_line():
    found = result_of((0, 0.5, [0]), (2, 0.5, [1]), (0, 0.4, [2]), hw=(400, 600))
    assert repr(found) == "Segmentation(600x400, panoptic, 3 segments: cat x2, grass)"
    assert repr(found[0]) == "Segment(label='cat', category_id=0, isthing=True, score=0.5)"
    assert repr(found[:0]) == "Segmentation(600x400, panoptic, 0 segments)"
    many = Vocabulary(tuple("abcdefgh"), (True,) * 8)
    rows = [(index, 0.5, [index]) for index in range(8)]
    assert repr(result_of(*rows, hw=(8, 8), vocabulary=many)).endswith("a, b, c, d, e, and 3 more categories)")


def test_a_result_is_a_sequence_of_segments():
    found = result_of((0, 0.5, [0]), (2, 0.5, [1]))
    assert len(found) == 2 and [segment.label for segment in found] == ["cat", "grass"]
    assert found[1] is found.segments[1] and found[-1].label == "grass" and found[1:].segments == found.segments[1:]
    assert found[:0]  # a result without segments is a result
    with pytest.raises(IndexError):
        found[2]


def test_filters_by_category_score_and_area():
    vocabulary = Vocabulary.from_names("cat|kitten,dog", stuff="grass")
    found = result_of((0, 0.9, [0]), (1, 0.4, [1, 2]), (2, 0.6, [3, 4, 5]), vocabulary=vocabulary)

    def names(**settings):
        return [segment.label for segment in found.filter(**settings)]

    assert names(category="Kitten") == ["cat"] and names(category=["grass", "cat"]) == ["cat", "grass"]
    assert names(min_score=0.6) == ["cat", "grass"] and names(min_area=8) == ["dog", "grass"]
    assert names(category="dog", min_score=0.5) == [] and names() == ["cat", "dog", "grass"]
    with pytest.raises(ValueError, match=r"no category 'gras'\. Did you mean 'grass'\?"):
        found.filter("gras")
