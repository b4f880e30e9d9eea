"""Panoptic PNGs compared with their segments: what is left out, and what is refused with its reason."""

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.data.label_maps import LabelledImage, id2rgb
from masqclip_d2.data.panoptic_labels import LeftOut, check_segment_ids, read_panoptic_labels

IDS = np.array([[5, 5, 1000], [70000, 5, 1000]])


def segments(*ids):
    return [{"id": segment_id, "category_id": position} for position, segment_id in enumerate(ids)]


@pytest.fixture
def save(tmp_path):
    def save(pixels, mode=None, **options):
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels, mode)
        image.save(tmp_path / "a.png", **options)
        return tmp_path / "a.png"

    return save


def with_alpha(alpha):
    return np.dstack([id2rgb(IDS), np.full(IDS.shape, alpha, dtype=np.uint8)])


def with_palette_of_colors():
    image = Image.fromarray(np.array([[0, 0, 1], [2, 0, 1]], dtype=np.uint8), "P")
    image.putpalette(id2rgb(np.array([5, 1000, 70000])).ravel().tolist())
    return image


@pytest.mark.parametrize(
    "pixels",
    [id2rgb(IDS), with_alpha(255), with_alpha(0), with_palette_of_colors()],
    ids=["RGB", "opaque", "transparent", "palette"],
)
def test_colors_are_ids_whatever_alpha_and_palette(save, pixels):
    labels = read_panoptic_labels(save(pixels), segments(5, 1000, 70000), LabelledImage((2, 3)))
    assert np.array_equal(labels.ids, IDS) and not labels.absent and not labels.unlisted
    assert labels.categories(255).tolist() == [[0, 0, 1], [2, 0, 1]]


def test_segments_without_pixels_and_pixels_without_segment_are_left_out(save):
    path = str(save(id2rgb(IDS)))
    labels = read_panoptic_labels(path, segments(5, 9, 70000))
    assert [info["id"] for info in labels.segments] == [5, 70000]
    assert (labels.absent, labels.unlisted) == ([9], [1000])
    assert labels.ids.tolist() == [[5, 5, 0], [70000, 5, 0]]
    assert labels.categories(255).tolist() == [[0, 0, 255], [2, 0, 255]]
    left_out = LeftOut()
    left_out.add(labels, path)
    left_out.add(read_panoptic_labels(path, segments(5, 1000, 70000)), path)
    assert left_out.sentence().startswith(
        "1 segments are listed without a pixel and 1 segments have pixels but are not listed, in 1 panoptic PNGs such "
        f"as {path}; they are left out in training and evaluation"
    )
    assert LeftOut().sentence() == ""


def test_segments_of_ignored_categories_are_void_and_not_counted(save):
    labels = read_panoptic_labels(save(id2rgb(IDS)), segments(5), ignored=[1000, 70000])
    assert labels.ids.tolist() == [[5, 5, 0], [0, 5, 0]] and not labels.unlisted and not labels.absent


def test_an_image_without_listed_segments_is_void(save):
    labels = read_panoptic_labels(save(id2rgb(IDS)), [])
    assert not labels.ids.any() and labels.segments == [] and labels.unlisted == [5, 1000, 70000]


@pytest.mark.parametrize(
    "pixels, message",
    [
        (id2rgb(IDS)[..., ::-1], "has 0 of its 3 listed segments, but 3 if red and blue are exchanged: .*cv2.imwrite"),
        (id2rgb(np.where(IDS == 5, 65537, IDS))[..., ::-1], "has 1 of its 3 listed segments, but 3 if red and blue"),
        (IDS.astype(np.uint8), r"has mode L; expected colors \(mode RGB\), segment id = R"),
        (IDS.astype(np.uint16), r"has mode I;16; expected colors"),
        (Image.fromarray(np.zeros((2, 3, 2), np.uint8), "LA"), "has mode LA; expected colors"),
        (id2rgb(IDS + 1), "has 0 of its 3 listed segments: it has the ids 6, 1001, 70001, listed are 5, 1000, 70000"),
        (np.zeros((2, 3, 3), np.uint8), "has 0 of its 3 listed segments: it has the ids none"),
    ],
    ids=["blue first", "blue first, one id symmetrical", "gray", "16 bits", "gray with alpha", "others", "black"],
)
def test_other_encodings_are_refused_with_the_reason(save, pixels, message):
    listed = (65537, 1000, 70000) if "1 of its" in message else (5, 1000, 70000)
    with pytest.raises(ValueError, match=f"a.png {message}"):
        read_panoptic_labels(save(pixels), segments(*listed))


def test_ids_as_indices_of_a_palette_are_refused(save):
    image = Image.fromarray(np.array([[1, 2, 2]], dtype=np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    with pytest.raises(ValueError, match="has the ids as indices of its palette, not as colors"):
        read_panoptic_labels(save(image), segments(1, 2))


@pytest.mark.parametrize(
    "ids, message",
    [
        ([0, 1], "a segment has the id 0, which means 'no segment'.*count from 1"),
        ([256**3], "16777216 is outside of 1..16777215"),
        ([-1], "-1 is outside"),
        ([3, 3], "3 is listed more than once"),
        (["3"], "'3' is no integer"),
        ([True], "True is no integer"),
        ([1.5], "1.5 is no integer"),
    ],
)
def test_ids_that_a_png_cannot_hold(ids, message):
    with pytest.raises(ValueError, match=f"image 7: .*{message}"):
        check_segment_ids(segments(*ids), "image 7")


def test_areas_are_numbers_of_pixels(save):
    listed = [{**each, "area": area} for each, area in zip(segments(5, 1000, 70000), (3, 0, 1e308), strict=True)]
    path = save(id2rgb(IDS))
    labels = read_panoptic_labels(path, listed)
    assert [each["area"] for each in labels.segments] == [3, 2, 1] and labels.other_areas == [1000, 70000]
    found = LeftOut()
    found.add(labels, str(path))
    assert found.sentence().startswith("2 segments have another area than their number of pixels, in 1 panoptic PNGs")
