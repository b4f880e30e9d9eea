import pytest

from masqclip_d2.data.annotation_files import read_segments
from tests.original_formats import write_json


def segment(number=5, category=1, **changed):
    return {"id": number, "category_id": category, "area": 4, "iscrowd": 0, **changed}


@pytest.fixture
def read(tmp_path):
    def read(segments, ignored=(), **changed):
        annotation = {"image_id": 3, "file_name": "a.png", "segments_info": segments}
        categories = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}]
        content = {"images": [{"id": 3}], "annotations": [annotation], "categories": categories, **changed}
        write_json(tmp_path / "a.json", content)
        return read_segments(tmp_path / "a.json", {1: 0, 9: 1}.keys() - set(ignored), ignored=ignored)

    return read


def test_numbers_as_text_are_numbers(read):
    found = read([segment("5", "1", area="4", iscrowd=False), segment(6, 9.0)])
    assert found.content["annotations"][0]["segments_info"] == [segment(5), segment(6, 9)]
    assert found.report.sentences() == []


def test_segments_of_ignored_categories_are_no_segments(read):
    (annotation,) = read([segment(5), segment(6, 9)], ignored=[9]).content["annotations"]
    assert annotation["segments_info"] == [segment(5)] and annotation["ignored_segment_ids"] == [6]


@pytest.mark.parametrize(
    "segments, message",
    [
        (None, "image 3: 'segments_info' is None; expected a list of objects"),
        ([5], r"image 3: 'segments_info' is \[5\]"),
        ([{"id": 5}], "image 3: segment 5 has no category_id, area"),
        ([segment(0)], "image 3: a segment has the id 0, which means 'no segment'"),
        ([segment(-1)], "image 3: the segment id -1 is outside of 1..16777215"),
        ([segment(256**3)], "image 3: the segment id 16777216 is outside of"),
        ([segment(None)], "image 3 has the segment id None"),
        ([segment(5), segment("5")], "image 3: the segment id 5 is listed more than once"),
        (
            [segment(5, 4)],
            r"image 3 has category id 4, which is not among the 2 categories of the dataset \(segment 5\)",
        ),
        ([segment(5, area=float("nan"))], "image 3, segment 5 has the area nan; expected its number of pixels"),
        ([segment(5, iscrowd=3)], "image 3, segment 5 has 'iscrowd' 3"),
    ],
)
def test_each_fault_names_file_and_image(read, tmp_path, segments, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(segments)
    assert str(caught.value).startswith(str(tmp_path / "a.json"))


def test_an_image_has_one_annotation(read):
    annotation = {"image_id": 3, "file_name": "a.png", "segments_info": []}
    with pytest.raises(ValueError, match="image 3 has several annotations; a panoptic file has one each"):
        read([], annotations=[annotation, annotation])


@pytest.mark.parametrize(
    "segments, message", [([], "It has no segments"), ([segment(iscrowd=1)], "All segments (1) are crowds")]
)
def test_a_file_without_objects_says_so(read, segments, message):
    assert read(segments).report.sentences()[0].startswith(message)


def test_images_without_an_annotation_are_counted(read):
    (sentence,) = read([segment()], images=[{"id": 3}, {"id": 4}]).report.sentences()
    assert sentence == "Images without an annotation, which are left out in training and evaluation: 1 of 2."
