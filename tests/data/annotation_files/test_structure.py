"""Structure of annotation files: what is read as if it were written properly, and an error for each fault."""

import pytest

from masqclip_d2.data.annotation_files.structure import read_annotations, used_categories
from tests.original_formats import write_json


def content(**changed):
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 4}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"id": 5, "image_id": 1}, {"id": 6, "image_id": 2}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
        **changed,
    }


@pytest.fixture
def read(tmp_path):
    def read(**changed):
        write_json(tmp_path / "a.json", content(**changed))
        return read_annotations(tmp_path / "a.json")

    return read


def test_a_proper_file_is_unchanged(read):
    assert read() == content()


@pytest.mark.parametrize("written", ["1", 1.0, 1])
def test_numbers_as_text_are_numbers(read, written):
    image = {"id": written, "file_name": "a.jpg", "height": "2", "width": 4.0}
    found = read(
        images=[image], annotations=[{"image_id": "1"}, {"image_id": 1}], categories=[{"id": written, "name": "cat"}]
    )
    assert found["images"] == [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 4}]
    assert [annotation["image_id"] for annotation in found["annotations"]] == [1, 1]
    assert found["categories"] == [{"id": 1, "name": "cat"}]


def test_if_one_image_id_is_text_all_are(read):
    found = read(
        images=[{"id": "0001"}, {"id": 7}, {"id": 2**70}],
        annotations=[{"image_id": "0001"}, {"image_id": 7}, {"image_id": "7"}],
    )
    assert [image["id"] for image in found["images"]] == ["0001", "7", str(2**70)]
    assert [annotation["image_id"] for annotation in found["annotations"]] == ["0001", "7", "7"]


def test_names_and_colors_of_categories(read):
    rows = [
        {"id": 1, "name": 5, "color": [1, 2, 3]},
        {"id": 2, "name": "\x1b[31mcat\ud800", "color": [1e9, 0, 0]},
        {"id": 3, "name": "sky", "isthing": False},
        {"id": 4, "name": "sea", "isthing": None},
    ]
    found = read(categories=rows)["categories"]
    assert found == [
        {"id": 1, "name": "5", "color": [1, 2, 3]},
        {"id": 2, "name": "[31mcat"},
        {"id": 3, "name": "sky", "isthing": 0},
        {"id": 4, "name": "sea"},
    ]


NAN = float("nan")
FAULTS = [
    ({"images": 5}, "'images' is 5; expected a list"),
    ({"annotations": None}, "'annotations' is None; expected a list"),
    ({"categories": {}}, "'categories' is {}; expected a list"),
    ({"images": []}, "has no images: its list 'images' is empty"),
    ({"categories": []}, "has no categories: its list 'categories' is empty"),
    ({"annotations": [[]]}, r"entry 0 of 'annotations' is \[\]; expected an object"),
    ({"images": [{}]}, "image 'without id' has no id"),
    ({"images": [{"id": None}]}, "has the image id None; expected an integer, or text"),
    ({"images": [{"id": True}]}, "has the image id True"),
    ({"images": [{"id": {"a": 1}}]}, "has the image id {'a': 1}"),
    ({"images": [{"id": 1}, {"id": "1"}]}, "image ids must be unique, but 1 occurs more than once"),
    ({"images": [{"id": 1, "file_name": 5}]}, "image 1 has the file_name 5; expected the name of a file"),
    ({"images": [{"id": 1, "file_name": "."}]}, "image 1 has the file_name '.'"),
    ({"images": [{"id": 1, "file_name": "a\0b"}]}, r"image 1 has the file_name 'a\\x00b'"),
    ({"images": [{"id": 1, "file_name": "\ud800.png"}]}, r"'\\ud800.png', which no file can have"),
    ({"images": [{"id": 1, "height": 2.5}]}, "image 1 has the height 2.5; expected a number of pixels"),
    ({"images": [{"id": 1, "height": NAN}]}, "image 1 has the height nan"),
    ({"images": [{"id": 1, "width": -4}]}, "image 1 has the width -4"),
    ({"images": [{"id": 1, "width": "wide"}]}, "image 1 has the width 'wide'"),
    (
        {"images": [{"id": 1, "height": 10**9, "width": 50}]},
        "image 1 is 50x1000000000 pixels .* by its entry; the limit",
    ),
    ({"annotations": [{"id": 7}]}, "annotation 7 has no image_id"),
    ({"annotations": [{"id": 7, "image_id": 1.5}]}, "annotation 7 has the image_id 1.5; expected"),
    ({"annotations": [{"id": 7, "image_id": 9}]}, "annotations of image 9, which is not among its 2 images"),
    ({"categories": [{"id": "z", "name": "cat"}]}, "category id 'z', but evaluation requires integer ids"),
    ({"categories": [{"id": 2**70, "name": "cat"}]}, "requires integer ids of at most 64 bits"),
    ({"categories": [{"id": NAN, "name": "cat"}]}, "has the category id nan"),
    ({"categories": [{"id": 1, "name": "a"}, {"id": "1", "name": "b"}]}, "has the category id 1 more than once"),
    ({"categories": [{"id": 1, "name": " "}]}, "category 1 has the name ' '; give it a name"),
    ({"categories": [{"id": 1, "name": ["cat"]}]}, r"category 1 has the name \['cat'\]"),
    ({"categories": [{"id": 1, "name": None}]}, "category 1 has the name None"),
    ({"categories": [{"id": 1, "name": "cat", "isthing": 2}]}, "category 1 has 'isthing' 2; expected 0 or 1"),
    ({"images": [{"id": 1, "file_name": ["x" * 1000] * 9}]}, r"has the file_name \['x{70,80}\.\.\.; expected"),
]


@pytest.mark.parametrize("changed, message", FAULTS, ids=[str(i) for i in range(len(FAULTS))])
def test_each_fault_is_one_sentence_with_the_file(read, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(**changed)
    assert str(tmp_path / "a.json") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("whole", [[], None, {"images": []}])
def test_a_file_of_another_kind(tmp_path, whole):
    write_json(tmp_path / "a.json", whole)
    with pytest.raises(ValueError, match="a.json has no annotations, categories.*, which COCO's formats require"):
        read_annotations(tmp_path / "a.json")


def test_one_name_twice_can_be_left_out():
    rows = [{"id": 0, "name": "fish"}, {"id": 1, "name": "fish"}]
    with pytest.raises(
        ValueError, match=r"a.json has the category name 'fish' more than once \(ids \[0, 1\]\); rename"
    ):
        used_categories(rows, (), "a.json")
    assert used_categories(rows, [0], "a.json") == rows[1:]
