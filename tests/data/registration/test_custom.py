"""A user's own data: category names and ids, records, metrics of the ground truth, and an error for each fault."""

import re

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

import masqclip_d2
from masqclip_d2 import Vocabulary, load_vocabulary, register_instances, register_panoptic, register_semantic
from masqclip_d2.diagnostics.datasets import check_dataset
from masqclip_d2.engine.vocabularies import vocabulary_of
from masqclip_d2.evaluation.dataset_metadata import category_groups
from tests.original_formats import (
    read_json,
    scores_of_the_ground_truth,
    write_image,
    write_json,
    write_pixels,
)

pytestmark = pytest.mark.usefixtures("forget")

FULL = pytest.approx(100)
# Ids as tools write them: not contiguous, not in order, 0 among them.
CATEGORIES = [{"id": 40, "name": "traffic_light"}, {"id": 0, "name": "zebra"}, {"id": 7, "name": "Sofa, couch"}]


def annotation(number, image, category, columns=(0, 2)):
    left, right = columns
    return {
        "id": number, "image_id": image, "category_id": category, "iscrowd": 0, "area": 2 * (right - left),
        "bbox": [left, 0, right - left, 2], "segmentation": [[left, 0, right, 0, right, 2, left, 2]],
    }  # fmt: skip


@pytest.fixture
def instances(tmp_path):
    """(images, json): two images of 4 x 2 pixels, of which the json has the first."""
    images = [{"id": 3, "file_name": "a.jpg", "height": 2, "width": 4}]
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / "images" / name, 4, 2)
    annotations = [annotation(1, 3, 40), annotation(2, 3, 0, (2, 4)), annotation(3, 3, 7, (1, 3))]
    write_json(tmp_path / "parts.json", {"images": images, "annotations": annotations, "categories": CATEGORIES})
    return tmp_path / "images", tmp_path / "parts.json"


@pytest.fixture
def panoptic(tmp_path, instances):
    """(images, json, pngs): segment 5 is a zebra on the left, 300 grass on the right, a column is void."""
    write_pixels(tmp_path / "pngs" / "a.png", [[(5, 0, 0), (5, 0, 0), (0, 0, 0), (44, 1, 0)]] * 2)
    segments = [
        {"id": 5, "category_id": 900, "area": 4, "bbox": [0, 0, 2, 2], "iscrowd": 0},
        {"id": 300, "category_id": 3, "area": 2, "bbox": [3, 0, 1, 2], "iscrowd": 0},
    ]
    content = {
        "images": [{"id": 3, "file_name": "a.jpg", "height": 2, "width": 4}],
        "annotations": [{"image_id": 3, "file_name": "a.png", "segments_info": segments}],
        "categories": [
            {"id": 900, "name": "zebra", "isthing": 1, "color": [1, 2, 3]},
            {"id": 3, "name": "grass", "isthing": 0},
        ],
    }
    write_json(tmp_path / "panoptic.json", content)
    return tmp_path / "images", tmp_path / "panoptic.json", tmp_path / "pngs"


@pytest.fixture
def semantic(tmp_path, instances):
    """(images, labels): road, person and no label; the other image has no label map."""
    write_pixels(tmp_path / "labels" / "a.png", [[0, 0, 2, 255]] * 2)
    return tmp_path / "images", tmp_path / "labels"


def right(name):
    return all(result.ok for result in check_dataset(name))


def test_category_names_are_the_names_of_the_json(instances):
    assert register_instances("parts", *instances) == "parts"
    vocabulary = vocabulary_of("parts")
    assert vocabulary.names == ("zebra", "Sofa, couch", "traffic light")  # ascending by id
    assert vocabulary.synonyms == (("zebra",), ("Sofa", "couch"), ("traffic light",))
    (record,) = DatasetCatalog.get("parts")
    assert [a["category_id"] for a in record["annotations"]] == [2, 0, 1]
    assert MetadataCatalog.get("parts").thing_dataset_id_to_contiguous_id == {0: 0, 7: 1, 40: 2}
    metrics = scores_of_the_ground_truth("parts")
    assert metrics["segm"]["AP"] == FULL and metrics["segm"]["AP-traffic_light"] == FULL
    assert right("parts")


@pytest.mark.parametrize(
    "categories, names",
    [
        ("couch|settee, Traffic Light, zebra", ("couch", "Traffic Light", "zebra")),
        (["zebra", "sofa", "traffic light"], ("zebra", "sofa", "traffic light")),
        (
            {0: "striped horse", 40: "traffic light|semaphore", 7: "sofa"},
            ("striped horse", "traffic light", "sofa"),
        ),
        (Vocabulary.from_names("zebra,sofa,traffic light"), ("zebra", "sofa", "traffic light")),
    ],
    ids=["text", "list", "by id", "vocabulary"],
)
def test_names_may_be_in_any_order_and_keep_it(instances, categories, names):
    register_instances("parts", *instances, categories)
    assert vocabulary_of("parts").names == names
    ids = MetadataCatalog.get("parts").thing_dataset_id_to_contiguous_id
    of_id = {category_id: names[contiguous] for category_id, contiguous in ids.items()}
    assert of_id[40].lower() == "traffic light" and of_id[7] in ("couch", "sofa") and of_id[0] != of_id[7]
    assert scores_of_the_ground_truth("parts")["segm"]["AP50"] == FULL


def test_names_of_a_file(instances, semantic, tmp_path):
    path = tmp_path / "words.yaml"
    path.write_text("categories: [zebra, {name: sofa, synonyms: [couch, settee]}, traffic light]\nensemble: max\n")
    register_instances("parts", *instances, path)
    assert vocabulary_of("parts") == load_vocabulary(path)
    register_semantic("roads", *semantic, str(path))
    assert vocabulary_of("roads").synonyms[1] == ("couch", "settee")
    register_semantic("scenes", *semantic, "ade20k/maskclip")
    assert len(vocabulary_of("scenes")) == 150
    with pytest.raises(FileNotFoundError, match="no vocabulary file .*nowhere.yaml"):
        register_instances("other", *instances, "nowhere.yaml")


def test_novel_categories_have_metrics_of_their_own(instances):
    register_instances("parts", *instances, novel=["Zebra"])
    assert category_groups(MetadataCatalog.get("parts")) == {"base": [1, 2], "novel": [0]}
    metrics = scores_of_the_ground_truth("parts")["segm"]
    assert metrics["AP_base"] == FULL and metrics["AP_novel"] == FULL


def test_a_vocabulary_keeps_its_groups(instances):
    vocabulary = Vocabulary(["zebra", "sofa", "traffic light"], [True] * 3, groups={"indoor": (1,)})
    register_instances("parts", *instances, vocabulary)
    assert category_groups(MetadataCatalog.get("parts")) == {"indoor": [1]}
    assert vocabulary_of("parts").groups == {"indoor": (1,)}


def test_a_vocabulary_keeps_its_colors_templates_and_background_prompts(instances):
    vocabulary = Vocabulary(
        ["zebra", "sofa", "traffic light"], [True] * 3, colors=[None, (9, 8, 7), None], templates="single",
        background_prompts=("background",),
    )  # fmt: skip
    register_instances("parts", *instances, vocabulary)
    assert vocabulary_of("parts") == vocabulary
    colors = MetadataCatalog.get("parts").thing_colors
    assert colors[1] == [9, 8, 7] and len({tuple(color) for color in colors}) == 3


def test_panoptic_and_instances(panoptic, instances):
    """The json defines the things, not the vocabulary."""
    images, path = instances
    content = read_json(path)
    content["annotations"] = [{**annotation(1, 3, 900), "bbox": [0, 0, 2, 2]}]
    content["categories"] = [{"id": 900, "name": "zebra"}]
    write_json(path, content)
    register_panoptic("stalls", *panoptic, "grass,zebra", instances=path, novel="grass")
    vocabulary = vocabulary_of("stalls")
    assert vocabulary.names == ("grass", "zebra") and vocabulary.is_thing == (False, True)
    metadata = MetadataCatalog.get("stalls")
    assert metadata.thing_colors == [[1, 2, 3]] and metadata.stuff_colors[1] == [1, 2, 3]
    (record,) = DatasetCatalog.get("stalls")
    assert [(s["category_id"], s["isthing"]) for s in record["segments_info"]] == [(1, True), (0, False)]
    metrics = scores_of_the_ground_truth("stalls")
    assert metrics["panoptic_seg"]["PQ"] == FULL and metrics["panoptic_seg"]["PQ_novel"] == FULL
    assert metrics["segm"]["AP"] == FULL
    assert right("stalls")


def test_panoptic_labels_have_semantic_metrics_but_none_of_instances(panoptic):
    register_panoptic("stalls", *panoptic)
    assert set(scores_of_the_ground_truth("stalls")) == {"panoptic_seg", "sem_seg"}


def test_semantic_labels(semantic):
    register_semantic("roads", *semantic, "road,kerb|curb,person", stuff="road,curb", novel="kerb")
    vocabulary = vocabulary_of("roads")
    assert vocabulary.names == ("road", "kerb", "person") and vocabulary.is_thing == (False, False, True)
    (record,) = DatasetCatalog.get("roads")
    assert record["file_name"].endswith("a.jpg") and record["sem_seg_file_name"].endswith("a.png")
    metrics = scores_of_the_ground_truth("roads")["sem_seg"]
    assert metrics["mIoU"] == FULL and np.isnan(metrics["mIoU_novel"])
    assert right("roads")


def test_the_ignore_label_is_not_a_category(semantic):
    register_semantic("few", *semantic, [f"category {i}" for i in range(255)])
    assert MetadataCatalog.get("few").ignore_label == 255
    register_semantic("many", *semantic, [f"category {i}" for i in range(256)])
    assert MetadataCatalog.get("many").ignore_label == 65535
    with pytest.raises(
        ValueError, match=r"'roads': the ignore label 0 is not above the labels 0..1; give at least 2\. If 0 means"
    ):
        register_semantic("roads", *semantic, "road,person", ignore_label=0)


def test_suffixes_longer_than_the_file_type(tmp_path):
    write_image(tmp_path / "images" / "town_leftImg8bit.png", 4, 2)
    write_pixels(tmp_path / "labels" / "town_labels.png", [[0] * 4] * 2)
    endings = {"image_suffix": "_leftImg8bit.png", "label_suffix": "_labels.png"}
    register_semantic("towns", tmp_path / "images", tmp_path / "labels", "road", **endings)
    assert DatasetCatalog.get("towns")[0]["image_id"] == "town"


def test_repeated_calls_have_no_effect_and_different_ones_are_refused(instances):
    register_instances("parts", *instances)
    register_instances("parts", *instances)
    with pytest.raises(ValueError, match="'parts' is already registered, with another .*; use another name, or rem"):
        register_instances("parts", *instances, novel="zebra")


def test_registration_functions_are_in_the_package():
    assert {"register_instances", "register_panoptic", "register_semantic"} <= set(masqclip_d2.__all__)


def change(path, **parts):
    write_json(path, {**read_json(path), **parts})


INSTANCE_FAULTS = {
    "duplicate category names": (
        {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}], "annotations": []},
        r"parts\.json has the category name 'cat' more than once",
    ),
    "names that differ by case": (
        {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "Cat"}], "annotations": []},
        "duplicates: 'cat'",
    ),
    "duplicate category ids": (
        {"categories": [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}], "annotations": []},
        "has the category id 1 more than once",
    ),
    "category id not in the table": (
        {"annotations": [annotation(1, 3, 41)]},
        "annotation 1 has category id 41, which is not among the 3 categories",
    ),
    "annotation without image": (
        {"annotations": [annotation(1, 99, 40)]},
        "annotations of image 99, which is not among its 1 images",
    ),
    "images that share an id": (
        {"images": [{"id": 3, "file_name": "a.jpg", "height": 2, "width": 4}] * 2},
        "image ids must be unique, but 3 occurs more than once",
    ),
    "annotations that share an id": (
        {"annotations": [annotation(5, 3, 40), annotation(5, 3, 0)]},
        "annotation ids must be unique, but 5",
    ),
    "an image without its size": ({"images": [{"id": 3, "file_name": "a.jpg"}]}, "image 3 has no height, width"),
    "an image without its file": ({"images": [{"id": 3, "height": 2, "width": 4}]}, "image 3 has no file_name"),
    "a category id that is a text": (
        {"categories": [{"id": "z", "name": "zebra"}], "annotations": []},
        "has the category id 'z', but evaluation requires integer ids",
    ),
    "a category without name": ({"categories": [{"id": 1}], "annotations": []}, "category 1 has no name"),
}


@pytest.mark.parametrize("fault", INSTANCE_FAULTS)
def test_faults_of_instances_are_errors_of_one_line(instances, fault):
    parts, match = INSTANCE_FAULTS[fault]
    change(instances[1], **parts)
    with pytest.raises(ValueError, match=match) as caught:
        register_instances("parts", *instances)
    assert "\n" not in str(caught.value) and "parts" not in DatasetCatalog.list()


def test_boxes_alone_are_said_at_registration_and_refused_when_loaded(instances, caplog):
    row = {key: value for key, value in annotation(6, 3, 40).items() if key != "segmentation"}
    change(instances[1], annotations=[row])
    register_instances("parts", *instances)
    assert "parts.json: Left out in training and evaluation: 1 of 1 annotations, with no mask: 1 (annot" in caplog.text
    with pytest.raises(ValueError, match="parts.json: none of its annotations can be used. Left out .*no mask"):
        DatasetCatalog.get("parts")


@pytest.mark.parametrize(
    "categories, match",
    [
        (
            "zebra,sofa,traffic light,cat",
            r"parts\.json has 3 categories \('zebra', .*\), which do not match the 4 names one to one: no category "
            "matches 'cat'. Give one name for each category that is used, or names by category id",
        ),
        ({0: "zebra", 8: "sofa"}, "has the category ids 0, 7, 40, but names are given for 0, 8;"),
        ({}, "has the category ids 0, 7, 40, but names are given for ;"),
        ({"zebra": "zebra"}, "names are given for the category id 'zebra', but evaluation requires integer ids"),
    ],
)
def test_names_that_do_not_match(instances, categories, match):
    with pytest.raises(ValueError, match=match):
        register_instances("parts", *instances, categories)


def test_two_categories_that_match_one_name(instances):
    change(instances[1], categories=[{"id": 0, "name": "sofa"}, {"id": 1, "name": "couch"}], annotations=[])
    with pytest.raises(ValueError, match="one to one: two categories match 'sofa'"):
        register_instances("parts", *instances, "sofa|couch")


def test_an_unknown_novel_category(instances):
    with pytest.raises(
        ValueError, match="The novel category 'cat' is none of the 3 categories: 'zebra', 'Sofa, couch'"
    ):
        register_instances("parts", *instances, novel="cat")


def test_missing_folders_and_files(instances, panoptic, semantic, tmp_path):
    images, path = instances
    missing = tmp_path / "nowhere"
    calls = {
        "image folder": lambda: register_instances("parts", missing, path),
        "annotation file": lambda: register_instances("parts", images, missing),
        "folder of panoptic pngs": lambda: register_panoptic("parts", images, panoptic[1], missing),
        "folder of label maps": lambda: register_semantic("parts", images, missing, "road"),
    }
    for what, call in calls.items():
        with pytest.raises(FileNotFoundError, match=f"'parts': there is no {what} {re.escape(str(missing))}"):
            call()


def test_faults_of_panoptic_labels(panoptic):
    content = read_json(panoptic[1])
    del content["categories"][0]["isthing"]
    write_json(panoptic[1], content)
    with pytest.raises(ValueError, match=r"panoptic\.json: category 900 has no isthing"):
        register_panoptic("stalls", *panoptic)
    content["categories"][0]["isthing"] = 1
    content["annotations"][0]["segments_info"][0]["category_id"] = 4
    write_json(panoptic[1], content)
    with pytest.raises(ValueError, match="image 3 has category id 4, which is not among the 2 categories"):
        register_panoptic("stalls", *panoptic)


def test_faults_of_semantic_labels(semantic, tmp_path):
    images, labels = semantic
    write_pixels(labels / "c.png", [[0]])
    with pytest.raises(ValueError, match=r"1 label maps of .* have no image .*in .*: c\."):
        register_semantic("roads", images, labels, "road")
    (labels / "c.png").unlink()
    (labels / "a.png").rename(labels / "a.tif")
    with pytest.raises(ValueError, match=r"has no label maps \(\*\.png\)"):
        register_semantic("roads", images, labels, "road")
    with pytest.raises(ValueError, match="`stuff` is for category names only"):
        register_semantic("roads", images, labels, Vocabulary.from_names("road"), stuff="road")


@pytest.mark.parametrize(
    "pixels, match",
    [
        ([[0, 0, 3, 255]] * 2, r"a\.png holds the label 3, but labels are 0\.\.2, and 255 without a category"),
        (np.zeros((2, 4, 3)), r"a\.png has mode RGB; expected one channel"),
        ([[0, 0, 0]] * 2, r"a\.png are 3x2 pixels, but their image .*a\.jpg is 4x2"),
    ],
    ids=["label out of range", "wrong mode", "other size"],
)
def test_check_data_finds_faults_of_label_maps(semantic, pixels, match):
    register_semantic("roads", *semantic, "road,kerb,person")
    write_pixels(semantic[1] / "a.png", pixels)
    wrong = [result.message for result in check_dataset("roads") if not result.ok]
    assert len(wrong) == 1 and re.search(match, wrong[0])


def test_check_data_finds_missing_images_and_panoptic_pngs_of_another_kind(panoptic):
    register_panoptic("stalls", *panoptic)
    write_pixels(panoptic[2] / "a.png", [[0, 0, 0, 1]] * 2)
    wrong = [result.message for result in check_dataset("stalls") if not result.ok]
    assert len(wrong) == 1 and "a.png has mode L; expected colors" in wrong[0]
    (panoptic[0] / "a.jpg").unlink()
    wrong = [result.message for result in check_dataset("stalls") if not result.ok]
    assert "1 of 2 files are missing" in wrong[0] and "a.jpg" in wrong[0]


def test_pngs_of_another_encoding_are_said_at_registration(panoptic, caplog):
    register_panoptic("scenes", *panoptic)
    assert not caplog.records
    write_pixels(panoptic[2] / "a.png", [[(0, 0, 5), (0, 0, 5), (0, 0, 0), (0, 1, 44)]] * 2)
    register_panoptic("blue first", *panoptic)
    assert "Dataset 'blue first' cannot be used: Panoptic PNG" in caplog.text
    assert "2 if red and blue are exchanged" in caplog.text
