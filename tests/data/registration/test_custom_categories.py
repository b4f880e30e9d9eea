"""Which categories of a user's annotation files make the dataset: a subset, other names, two files that differ."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T

from masqclip_d2 import register_instances, register_panoptic
from masqclip_d2.data.ground_truth import instance_masks, panoptic_masks
from masqclip_d2.diagnostics.datasets import check_dataset
from masqclip_d2.engine.vocabularies import vocabulary_of
from masqclip_d2.evaluation import InstanceEvaluator, PanopticEvaluator
from tests.original_formats import read_json, write_image, write_json, write_pixels

pytestmark = pytest.mark.usefixtures("forget")

FULL = pytest.approx(100)
HW = (40, 50)


def annotation(number, category, left):
    box = [left, 5, 10, 20]
    return {
        "id": number, "image_id": 3, "category_id": category, "iscrowd": 0, "area": 200, "bbox": box,
        "segmentation": [[left, 5, left + 10, 5, left + 10, 25, left, 25]],
    }  # fmt: skip


@pytest.fixture
def instances(tmp_path):
    """(images, json): an image with a traffic light, a zebra and a sofa."""
    images = [{"id": 3, "file_name": "a.jpg", "height": HW[0], "width": HW[1]}]
    categories = [{"id": 40, "name": "traffic_light"}, {"id": 0, "name": "zebra"}, {"id": 7, "name": "Sofa, couch"}]
    annotations = [annotation(1, 40, 0), annotation(2, 0, 15), annotation(3, 7, 30)]
    write_image(tmp_path / "images" / "a.jpg", HW[1], HW[0])
    write_json(tmp_path / "parts.json", {"images": images, "annotations": annotations, "categories": categories})
    return tmp_path / "images", tmp_path / "parts.json"


@pytest.fixture
def panoptic(tmp_path, instances):
    """(images, json, pngs): a zebra on the left, grass on the right."""
    write_pixels(tmp_path / "pngs" / "a.png", [[(5, 0, 0)] * 25 + [(44, 1, 0)] * 25] * HW[0])
    segments = [
        {"id": 5, "category_id": 900, "area": 1000, "bbox": [0, 0, 25, 40], "iscrowd": 0},
        {"id": 300, "category_id": 3, "area": 1000, "bbox": [25, 0, 25, 40], "iscrowd": 0},
    ]
    content = {
        "images": read_json(instances[1])["images"],
        "annotations": [{"image_id": 3, "file_name": "a.png", "segments_info": segments}],
        "categories": [{"id": 900, "name": "zebra", "isthing": 1}, {"id": 3, "name": "grass", "isthing": 0}],
    }
    write_json(tmp_path / "panoptic.json", content)
    return tmp_path / "images", tmp_path / "panoptic.json", tmp_path / "pngs"


def change(path, **parts):
    write_json(path, {**read_json(path), **parts})


def right(name):
    return all(result.ok for result in check_dataset(name))


def instance_metrics(name, annotations):
    """Mask AP of predictions that are these annotations (of contiguous categories) in image 3."""
    objects = instance_masks({"annotations": annotations}, HW, T.TransformList([]))
    evaluator = InstanceEvaluator(name, tasks=("segm",))
    evaluator.process([{"image_id": 3}], [{"instances": predicted(objects)}])
    return evaluator.evaluate()["segm"]


def predicted(objects):
    import torch
    from detectron2.structures import Boxes, Instances

    masks = torch.from_numpy(objects.masks)
    boxes = Boxes(torch.zeros(len(masks), 4))
    return Instances(
        HW,
        pred_masks=masks,
        pred_boxes=boxes,
        scores=torch.ones(len(masks)),
        pred_classes=torch.from_numpy(objects.classes),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"ignore_categories": "Traffic Light"},
        {"ignore_categories": [40]},
        {"vocabulary": "zebra,sofa"},
        {"vocabulary": {0: "zebra", "7": "sofa"}},
        {"vocabulary": "sofa,zebra", "ignore_categories": ["traffic_light"]},
    ],
    ids=["by name", "by id", "some names", "some ids", "both"],
)
def test_some_categories_of_a_json(instances, arguments, caplog):
    register_instances("parts", *instances, **arguments)
    assert sorted(name.split(",")[0].lower() for name in vocabulary_of("parts").names) == ["sofa", "zebra"]
    assert MetadataCatalog.get("parts").ignored_category_ids == [40]
    assert len(DatasetCatalog.get("parts")[0]["annotations"]) == 2
    assert "Annotations of ignored categories ('traffic_light') left out: 1." in caplog.text
    metrics = instance_metrics("parts", DatasetCatalog.get("parts")[0]["annotations"])
    assert metrics["AP"] == FULL and "AP-traffic_light" not in metrics
    assert right("parts")


def test_class_and_group_of_one_name(instances):
    """Roboflow's exports have a category for the group; it may have the name of a class."""
    rows = [{"id": 0, "name": "fish", "supercategory": "none"}, {"id": 1, "name": "fish", "supercategory": "fish"}]
    change(instances[1], categories=rows, annotations=[annotation(1, 1, 0)])
    with pytest.raises(
        ValueError, match=r"category name 'fish' more than once \(ids \[0, 1\]\); .* ignore_categories=\[0\]"
    ):
        register_instances("parts", *instances)
    register_instances("parts", *instances, ignore_categories=[0])
    change(instances[1], categories=[{"id": 0, "name": "Fish"}, {"id": 1, "name": "fish"}])
    with pytest.raises(
        ValueError, match=r"parts.json: The vocabulary has duplicates: 'fish' .*by ignore_categories=\[ids\]"
    ):
        register_instances("others", *instances)
    register_instances("others", *instances, {1: "fish"})
    assert instance_metrics("others", DatasetCatalog.get("others")[0]["annotations"])["AP"] == FULL


def test_unknown_ignored_categories(instances):
    with pytest.raises(
        ValueError, match="ignore_categories has 'cat', which is none of its 3 categories: 'zebra', 'Sof"
    ):
        register_instances("parts", *instances, ignore_categories="cat")
    with pytest.raises(ValueError, match="ignore_categories leaves none of its 3 categories"):
        register_instances("parts", *instances, ignore_categories=[0, 7, 40])
    for odd in (None, True, 2.0, b"zebra"):
        with pytest.raises(ValueError, match="parts.json: ignore_categories is .*; give names or category ids"):
            register_instances("parts", *instances, ignore_categories=odd)  # pyright: ignore[reportArgumentType]


def test_names_for_one_category_id_in_two_spellings(instances):
    with pytest.raises(ValueError, match="names are given for .*, which has a category id twice"):
        register_instances("parts", *instances, {7: "zebra", "7": "horse"})


def test_ignored_categories_of_panoptic_labels_are_void(panoptic):
    register_panoptic("stalls", *panoptic, ignore_categories="grass")
    (record,) = DatasetCatalog.get("stalls")
    assert [info["id"] for info in record["segments_info"]] == [5]
    objects = panoptic_masks(record, HW, T.TransformList([]))
    assert len(objects.masks) == 1
    evaluator = PanopticEvaluator("stalls")
    segments = [{"id": 1, "category_id": 0, "isthing": True}]
    evaluator.process([record], [{"panoptic_seg": (objects.masks[0].astype(int), segments)}])
    metrics = evaluator.evaluate()["panoptic_seg"]
    assert metrics["PQ"] == FULL and "PQ-grass" not in metrics
    assert right("stalls")


@pytest.fixture
def numbered_otherwise(panoptic, instances):
    """An instances json whose ids are those of other categories in the panoptic json."""
    rows = [{"id": 3, "name": "zebra"}, {"id": 900, "name": "horse"}]
    change(instances[1], categories=rows, annotations=[annotation(1, 3, 0)])
    return instances[1]


def test_categories_of_two_files_are_matched_by_name(panoptic, numbered_otherwise, caplog):
    register_panoptic("stalls", *panoptic, instances=numbered_otherwise)
    zebra = {**annotation(1, 1, 0)}  # contiguous ids are by id: 3 grass, 900 zebra
    metrics = instance_metrics("stalls", [zebra])
    assert metrics["AP"] == metrics["AP-zebra"] == FULL
    assert (
        "parts.json: It numbers categories otherwise than the panoptic json: they are matched by name." in caplog.text
    )
    assert right("stalls")


def test_an_annotation_of_a_category_that_the_panoptic_json_lacks(panoptic, numbered_otherwise):
    change(numbered_otherwise, annotations=[annotation(1, 900, 0)])
    with pytest.raises(
        ValueError, match="parts.json, annotation 1 has category id 900, which is not among the 1 categ"
    ):
        register_panoptic("stalls", *panoptic, instances=numbered_otherwise)
    change(numbered_otherwise, categories=[{"id": 1, "name": "zebra"}, {"id": 2, "name": "Zebra"}])
    with pytest.raises(ValueError, match=r"the category ids 1, 2 match the same category of .*panoptic.json"):
        register_panoptic("stalls", *panoptic, instances=numbered_otherwise)
    change(numbered_otherwise, categories=[{"id": 1, "name": "horse"}])
    with pytest.raises(ValueError, match="has none of the categories of .*panoptic.json; is it another dataset's file"):
        register_panoptic("stalls", *panoptic, instances=numbered_otherwise)
